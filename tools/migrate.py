"""`turnlog migrate`: bring the database's schema up to date."""

import asyncio

from common.postgres.migrations import migrate
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir


def migrate_command(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Apply the migrations that the database has not seen yet."""
    applied = asyncio.run(migrate(load_instance(data_dir).postgres.dsn))
    for name in applied:
        print(f"applied {name}")
    print(f"{len(applied)} migrations applied" if applied else "the database is up to date")

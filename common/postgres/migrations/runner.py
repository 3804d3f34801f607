"""Applies migrations, once, however many processes try at the same time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from common.domain.errors import UnsafeConfiguration
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool, connect

_LOCK: Final = 7_401_205_893_116
"""Any number that nothing else in this database takes an advisory lock on."""

_CREATE_JOURNAL: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaMismatch(UnsafeConfiguration):
    """The database was not made by this program's migrations, or by more than them."""


class SchemaOutdated(SchemaMismatch):
    """Migrations are missing in the database: run `turnlog migrate`."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. `name` begins with its number, which orders it."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def program_migrations() -> tuple[Migration, ...]:
    """All migrations of this program, in order."""
    folder = files("common.postgres.migrations")
    found = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return tuple(Migration(n.removesuffix(".sql"), (folder / n).read_text("utf-8")) for n in found)


async def migrate(dsn: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring the database at `dsn` up to date; the names of the migrations that this call applied.

    Raises SchemaMismatch, before anything is changed, where the database is newer than the program or
    a migration is not the one that was applied; StoreUnavailable where there is no database.
    """
    wanted = program_migrations() if migrations is None else migrations
    with outages():
        connection = await connect(dsn)
        try:
            applied: list[str] = []
            while (name := await _apply_next(connection, wanted)) is not None:
                applied.append(name)
            return applied
        finally:
            await connection.close()


async def check_schema(pool: Pool) -> None:
    """Return where the schema is this program's. Raises SchemaOutdated, or SchemaMismatch."""
    with outages():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            missing = _missing(await _applied(connection), program_migrations())
    if missing:
        raise SchemaOutdated(
            f"the database is not up to date: {len(missing)} migrations are missing, "
            f"{missing[0].name} first. Run `turnlog migrate`."
        )


async def _apply_next(connection: Connection, wanted: Sequence[Migration]) -> str | None:
    """Apply the first missing migration; None where none is missing.

    The lock is held for one migration, and looking what is missing is part of it: of several processes
    that migrate at once, each step is taken by one, and the others see that it was.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_CREATE_JOURNAL)
        missing = _missing(await _applied(connection), wanted)
        if not missing:
            return None
        await connection.execute(missing[0].sql)
        await connection.execute(
            "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
            missing[0].name,
            missing[0].checksum,
        )
        return missing[0].name


async def _applied(connection: Connection) -> dict[str, str]:
    """Checksums of the migrations that the database has, by name."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


def _missing(applied: dict[str, str], wanted: Sequence[Migration]) -> list[Migration]:
    """The migrations still to apply. Raises SchemaMismatch where what was applied is not ours."""
    unknown = sorted(applied.keys() - {migration.name for migration in wanted})
    if unknown:
        raise SchemaMismatch(
            f"the database is newer than this program: it has migration {unknown[-1]}, which this "
            "program does not know. Run the version of Turnlog that made it, or a later one."
        )
    for migration in wanted:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.name} is not the one that was applied to this database: its "
                "text has changed since. Put the released text back; mend by a new migration."
            )
    missing = [migration for migration in wanted if migration.name not in applied]
    if missing and wanted.index(missing[0]) != len(applied):
        raise SchemaMismatch(
            f"migration {missing[0].name} is missing in the database though later ones were applied"
        )
    return missing

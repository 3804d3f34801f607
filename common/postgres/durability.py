"""What of PostgreSQL's settings lets committed rows be lost, and when."""

from __future__ import annotations

from typing import Final

from common.domain.durability import Weakness
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool

_CORRUPTS: Final = "a crash of the machine may corrupt the whole database, not only lose what came last"
_WEAK: Final = {
    "fsync": Weakness("postgres_fsync_off", _CORRUPTS, "fsync = on"),
    "full_page_writes": Weakness("postgres_full_page_writes_off", _CORRUPTS, "full_page_writes = on"),
    "synchronous_commit": Weakness(
        "postgres_synchronous_commit_off",
        "the last moments of what was committed (and answered with persisted) may be lost when PostgreSQL or "
        "its machine crashes; Redis has let go of it by then",
        "synchronous_commit = on",
    ),
}


async def postgres_weaknesses(pool: Pool) -> list[Weakness]:
    """What is weaker than PostgreSQL's default. Raises StoreUnavailable."""
    with outages():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            rows = await connection.fetch(
                "SELECT name FROM pg_settings WHERE setting = 'off' AND name = ANY($1)", list(_WEAK)
            )
    return [_WEAK[row["name"]] for row in rows]

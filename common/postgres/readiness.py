"""What Turnlog demands of a database before a service writes to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from common.domain.errors import StoreUnavailable
from common.postgres.durability import postgres_weaknesses
from common.postgres.log_identity import claim_partitions
from common.postgres.migrations import SchemaOutdated, check_schema
from common.postgres.pool import Pool

RETRY_SECONDS: Final = 0.5
log = structlog.get_logger(__name__)


async def record_when_there(pool: Pool, partitions: int, stop: asyncio.Event) -> bool:
    """Wait until PostgreSQL answers and is migrated; False where `stop` was set before it was.

    Raises UnsafeConfiguration where the database is newer than this program, was made by something else
    than its migrations, or records a log with another number of partitions.
    """
    said = ""
    while not stop.is_set():
        try:
            await check_schema(pool)
            await claim_partitions(pool, partitions)
        except (SchemaOutdated, StoreUnavailable) as error:
            if str(error) != said:
                log.warning("postgres_not_ready_yet", reason=str(error))
                said = str(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await stop.wait()
        else:
            return True
    return False


async def warn_of_weaknesses(pool: Pool) -> None:
    """Say once what of the server's settings may lose what was committed."""
    try:
        for weakness in await postgres_weaknesses(pool):
            log.warning(weakness.name, consequence=weakness.consequence, remedy=weakness.remedy)
    except StoreUnavailable as error:
        log.debug("postgres_settings_not_known", reason=str(error))

"""Ends sessions of ours whose process stands still inside a transaction, where PostgreSQL does not by itself.

Its `idle_in_transaction_session_timeout` knows a session that is between two statements. One between the
Parse and the Bind of a statement counts as active, its statement time-out is ignored while it waits for its
client, and so a process that is stopped there would keep its locks, and all others waiting, until it wakes.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from common.domain.errors import StoreUnavailable
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool
from common.postgres.queries import statement
from common.settings import PostgresSettings

EVERY_SECONDS: Final = 5.0
SERVICES: Final = ("turnlog-gateway", "turnlog-persister", "turnlog-cache-builder")

log = structlog.get_logger(__name__)


class StandingSessions:
    """Any number of processes may look after them at once."""

    def __init__(self, pool: Pool, settings: PostgresSettings) -> None:
        self._pool = pool
        self._limit_seconds = settings.statement_timeout_seconds

    async def run(self, *, every_seconds: float = EVERY_SECONDS) -> None:
        """Look again and again, until cancelled; while PostgreSQL is away there is nothing to do."""
        while True:
            try:
                await self.end()
            except StoreUnavailable as error:
                log.debug("standing_sessions_not_known", reason=str(error))
            await asyncio.sleep(every_seconds)

    async def end(self) -> int:
        """End those that have said nothing for longer than a statement may take; how many there were."""
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                found = await connection.fetch(
                    statement("end_standing_sessions"), list(SERVICES), self._limit_seconds
                )
        for row in found:
            log.warning("standing_session_ended", of=row["application_name"], server_process=row["pid"])
        return len(found)

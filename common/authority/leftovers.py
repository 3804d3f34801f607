"""What processes left behind that are gone: forgotten once all they put on the log is in the record."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from common.authority.watermark import Watermark
from common.domain.errors import LogUnavailable, StoreUnavailable
from common.domain.ids import Position
from common.postgres.authority import AuthorityStore

EVERY_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class Leftovers:
    """Sessions that are silent or have ended. Any number of processes may look after them at once.

    As long as they are there, the record cannot take over (silent sessions), or a conversation cannot be
    used while it has (what ended ones left).
    """

    def __init__(self, store: AuthorityStore, watermark: Watermark) -> None:
        self._store = store
        self._watermark = watermark
        self._sessions: list[UUID] = []
        self._ends: dict[int, Position | None] = {}

    async def run(self, *, every_seconds: float = EVERY_SECONDS) -> None:
        """Look again and again, until cancelled; while a server is away there is nothing to do."""
        while True:
            with suppress(StoreUnavailable, LogUnavailable):
                await self.tidy()
            await asyncio.sleep(every_seconds)

    async def tidy(self) -> None:
        """Look once; to be called again and again. Raises StoreUnavailable, LogUnavailable.

        The order counts: who is gone, then where the log ends, then (in a later call) whether all up to
        there is settled.
        """
        if not self._sessions:
            sessions = await self._store.leftovers()
            self._ends = await self._watermark.ends() if sessions else {}
            self._sessions = sessions
        if self._sessions and await self._watermark.has_settled(self._ends):
            await self._store.forget(self._sessions)
            log.info("sessions_forgotten", count=len(self._sessions))
            self._sessions = []

"""Whether another persister has fallen silent: what it holds is then let go before its idle time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from redis.exceptions import ResponseError

from common.domain.errors import LogUnavailable
from common.redis.group import ConsumerGroup, GroupMissing
from common.redis.heartbeats import BEAT_SECONDS, Heartbeats, Reading
from services.persister.reader import report_lost

LOOK_SECONDS: Final = BEAT_SECONDS
HEARING_SECONDS: Final = 2 * BEAT_SECONDS
"""How long Redis must have been back until silence counts: while it was away nobody could be heard."""

log = structlog.get_logger(__name__)


class Takeover:
    """Looks after the other persisters; any number may do so at once.

    Only those are taken over from that were heard of and are not any more: one that never said that it lives
    (an older version, say) keeps what it holds for the idle time of a claim. `claim` is called with each
    partition in which there is something to claim.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        group: ConsumerGroup,
        claim: Callable[[int], None],
        *,
        partitions: int,
        idle_seconds: float,
        consumer: str,
    ) -> None:
        self._heartbeats = heartbeats
        self._group = group
        self._claim = claim
        self._partitions = partitions
        self._idle_ms = int(idle_seconds * 1000)
        self._consumer = consumer
        self._empty_handed = frozenset[str]()
        self._told = frozenset[str]()
        self._hearing_since: float | None = float("-inf")

    async def run(self) -> None:
        """Look again and again, until cancelled. While Redis is away there is nothing to do."""
        while True:
            try:
                await self.look()
            except (LogUnavailable, ResponseError) as error:
                log.debug("takeover_put_off", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. A dead one is remembered for an hour: what holds nothing is not looked at again."""
        silent = await self._silent()
        self._empty_handed &= silent
        self._told &= silent
        gone = sorted(silent - self._empty_handed)
        if not gone:
            return
        held, away = 0, 0
        for partition in range(self._partitions):
            try:
                held += await self._take(partition, gone)
            except LogUnavailable:
                away += 1  # one primary of a cluster; what it has is looked at when it is back
        if not held and not away:
            self._empty_handed |= set(gone)
        elif held and not self._told.issuperset(gone):
            self._told |= set(gone)
            log.warning("silent_persisters_taken_over_from", silent=gone, entries=held)

    async def _silent(self) -> frozenset[str]:
        """Those that have fallen silent, as far as they could have been heard."""
        try:
            found = await self._heartbeats.silent(Reading.PERSISTER)
        except LogUnavailable:
            self._hearing_since = None
            raise
        now = asyncio.get_running_loop().time()
        if self._hearing_since is None:
            self._hearing_since = now
        if now - self._hearing_since < HEARING_SECONDS:
            return frozenset()
        return frozenset(found) - {self._consumer}

    async def _take(self, partition: int, gone: list[str]) -> int:
        try:
            found = await self._group.let_go(partition, gone, idle_ms=self._idle_ms)
        except GroupMissing:
            return 0
        if found.lost:
            report_lost(partition, found.lost)
        if found.held:
            self._claim(partition)
        return found.held

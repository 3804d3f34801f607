"""What keeps the log small: trimming what is settled, forgetting consumers that are gone."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from common.domain.errors import LogUnavailable
from common.domain.ids import now_ms
from common.redis.group import ConsumerGroup, GroupMissing

INTERVAL_SECONDS: Final = 30.0
SILENT_CONSUMER_SECONDS: Final = 600
log = structlog.get_logger(__name__)


class Upkeep:
    """Looks after all partitions; any number of persisters may do so at once."""

    def __init__(
        self,
        group: ConsumerGroup,
        *,
        partitions: int,
        replay_window_seconds: int,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._group = group
        self._partitions = partitions
        self._replay_window_ms = replay_window_seconds * 1000
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Look after the log until cancelled. While Redis is away there is nothing to do."""
        while True:
            for partition in range(self._partitions):
                try:
                    await self.look_after(partition)
                except (LogUnavailable, GroupMissing) as error:
                    log.debug("upkeep_put_off", partition=partition, reason=str(error))
            await asyncio.sleep(self._interval_seconds)

    async def look_after(self, partition: int) -> None:
        """Trim one partition below what is settled and older than the replay window."""
        trimmed = await self._group.trim(partition, keep_from_ms=now_ms() - self._replay_window_ms)
        if trimmed:
            log.debug("log_trimmed", partition=partition, entries=trimmed)
        forgotten = await self._group.forget_consumers(partition, silent_ms=SILENT_CONSUMER_SECONDS * 1000)
        if forgotten:
            log.debug("consumers_forgotten", partition=partition, count=len(forgotten))

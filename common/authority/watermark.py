"""How far the record has followed the log, so that what is settled can be forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from common.authority.unsettled import Unsettled
from common.domain.errors import LogUnavailable
from common.domain.ids import Position, position_order
from common.redis.group import ConsumerGroup, PartitionLag


class Watermark:
    """Asks the log. Raises LogUnavailable."""

    def __init__(self, group: ConsumerGroup, partitions: int) -> None:
        self._group = group
        self._partitions = partitions

    async def probe_any(self) -> None:
        """Return where some partition of the log answers: as long as one does, the log is in use."""
        probes = [asyncio.create_task(self._group.end(p)) for p in range(self._partitions)]
        try:
            for answered in asyncio.as_completed(probes):
                with suppress(LogUnavailable):
                    await answered
                    return
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
        raise LogUnavailable("no partition of the log answers")

    async def probe_all(self) -> None:
        """Return where every partition of the log answers."""
        await asyncio.gather(*(self._group.end(partition) for partition in range(self._partitions)))

    async def advance(self, unsettled: Unsettled) -> None:
        """Have `unsettled` forget what the record has, of the partitions that answer."""
        partitions = range(self._partitions)
        await asyncio.gather(*(self._advance(unsettled, partition) for partition in partitions))

    async def _advance(self, unsettled: Unsettled, partition: int) -> None:
        newest, loose = unsettled.newest(partition), unsettled.loose(partition)
        try:
            end = await self._group.end(partition)
            lag = await self._group.lag(partition)
        except LogUnavailable:
            return
        unsettled.bound(loose, end)
        unsettled.settle(partition, lambda position: _is_settled(position, newest, end, lag))

    async def ends(self) -> dict[int, Position | None]:
        """Where each partition ends at this moment."""
        return {partition: await self._group.end(partition) for partition in range(self._partitions)}

    async def has_settled(self, ends: dict[int, Position | None]) -> bool:
        """Whether all up to `ends` is in the record, or parked."""
        for partition, end in ends.items():
            if end is not None and not (await self._group.lag(partition)).has_settled(end):
                return False
        return True


def _is_settled(position: Position, newest: Position | None, end: Position | None, lag: PartitionLag) -> bool:
    if lag.has_settled(position):
        return True
    # It was on the log before the log was asked, and the log ends below it: the log lost it, or was
    # trimmed to nothing because all of it is in the record.
    noted_before = newest is not None and position_order(position) <= position_order(newest)
    return noted_before and (end is None or position_order(end) < position_order(position))

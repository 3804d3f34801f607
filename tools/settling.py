"""Waiting until what is on the log by now is in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from common.domain.errors import LogUnavailable
from common.domain.ids import Position
from common.redis.group import ConsumerGroup, PartitionLag

STALL_SECONDS: Final = 15.0
_FIRST_POLL_SECONDS: Final = 0.01
_LONGEST_POLL_SECONDS: Final = 0.2


async def log_ends(group: ConsumerGroup, partitions: int) -> dict[int, Position]:
    """Where the log ends at this moment, for each partition that has anything."""
    ends = {partition: await group.end(partition) for partition in range(partitions)}
    return {partition: end for partition, end in ends.items() if end}


async def outstanding(group: ConsumerGroup, partitions: int) -> int:
    """How many events are on the log and not in PostgreSQL."""
    lags = [await group.lag(partition) for partition in range(partitions)]
    return sum(lag.waiting + lag.pending for lag in lags)


async def wait_settled(
    group: ConsumerGroup, ends: Mapping[int, Position], *, stall_seconds: float = STALL_SECONDS
) -> bool:
    """Wait until everything up to `ends` is in PostgreSQL (or parked).

    False where for `stall_seconds` nothing was committed.
    """
    loop = asyncio.get_running_loop()
    pause, moved, seen = _FIRST_POLL_SECONDS, loop.time(), dict[int, PartitionLag]()
    while True:
        try:
            lags = {partition: await group.lag(partition) for partition in ends}
        except LogUnavailable:
            lags = seen
        if lags and all(lags[partition].has_settled(end) for partition, end in ends.items()):
            return True
        if not ends:
            return True
        if _progress(lags) != _progress(seen):
            moved = loop.time()
        if loop.time() - moved > stall_seconds:
            return False
        seen = lags
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_POLL_SECONDS)


def _progress(lags: Mapping[int, PartitionLag]) -> list[object]:
    return [(lag.delivered, lag.oldest_pending, lag.pending) for lag in lags.values()]

"""Back-pressure on the log: the bounds it keeps to, and how near to them it is. See `lua/pressure.lua`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from common.domain.errors import LogUnavailable
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.settings import Settings

WATCH_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one partition may hold that PostgreSQL does not have, and the server's memory. 0: no bound.

    `max_memory_bytes` wins over `max_memory_percent`, which is of the server's maxmemory.
    """

    max_events: int = 0
    max_bytes: int = 0
    max_age_ms: int = 0
    max_memory_bytes: int = 0
    max_memory_percent: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one partition holds that PostgreSQL does not have; `refuses` names the bound it is over, or ''.

    `bytes` are counted in steps of five seconds, rounded up.
    """

    refuses: str
    events: int
    bytes: int
    age_ms: int
    memory_bytes: int
    memory_bound: int


def bounds_from(settings: Settings) -> Bounds:
    """The bounds that are configured."""
    limits, redis = settings.limits, settings.redis
    return Bounds(
        limits.backlog_max_events,
        limits.backlog_max_bytes,
        limits.backlog_max_age_seconds * 1000,
        redis.max_memory_bytes,
        redis.max_memory_percent,
    )


class Pressure:
    """The bounds of a log, which its functions keep to for every publisher. Raises LogUnavailable."""

    def __init__(self, functions: Functions, keys: Keys, bounds: Bounds) -> None:
        self._functions = functions
        self._keys = keys
        self._bounds = bounds
        self._refusing: dict[int, str] = {}

    async def set_bounds(self) -> None:
        """Let every partition have our bounds."""
        for partition in range(self._keys.partitions):
            await self._set_bounds(partition)

    async def _set_bounds(self, partition: int) -> None:
        bounds = self._bounds
        numbers = (
            *(bounds.max_events, bounds.max_bytes, bounds.max_age_ms),
            *(bounds.max_memory_bytes, bounds.max_memory_percent),
        )
        await self._functions.call("set_bounds", [self._keys.log(partition)], *numbers)

    async def set_missing_bounds(self) -> None:
        """Let every partition that has no bounds have ours: no gateway has been there yet."""
        if not await self._functions.client.call("HEXISTS", self._keys.log(0), "max_events"):
            await self.set_bounds()

    async def backlog(self, partition: int) -> Backlog:
        """Measure one partition now."""
        reason, *figures = await self._functions.call("pressure", [self._keys.events(partition)])
        return Backlog(reason.decode(), *map(int, figures))

    async def watch(self, *, every_seconds: float = WATCH_SECONDS) -> None:
        """Keep the bounds in place, also in a Redis that was emptied, and say when the log refuses."""
        while True:
            await asyncio.gather(*map(self._watch_once, range(self._keys.partitions)))
            await asyncio.sleep(every_seconds)

    async def _watch_once(self, partition: int) -> None:
        try:
            await self._set_bounds(partition)
            self._say(partition, await self.backlog(partition))
        except LogUnavailable as error:
            log.debug("pressure_not_known", partition=partition, reason=str(error))

    def _say(self, partition: int, backlog: Backlog) -> None:
        before = self._refusing.get(partition, "")
        self._refusing[partition] = backlog.refuses
        about = {
            "partition": partition,
            "events": backlog.events,
            "bytes": backlog.bytes,
            "age_ms": backlog.age_ms,
            "memory_bytes": backlog.memory_bytes,
        }
        if backlog.refuses and not before:
            log.warning("log_refuses_more", over=backlog.refuses, **about)
        elif before and not backlog.refuses:
            log.info("log_takes_more_again", **about)

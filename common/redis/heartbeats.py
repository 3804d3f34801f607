"""Who reads Redis's streams. Redis cannot say it: up to 7.0 a consumer that finds nothing leaves no trace."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

import structlog
from redis.exceptions import ResponseError

from common.domain.errors import LogUnavailable
from common.redis.functions import Functions
from common.redis.keys import Keys

BEAT_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 10.0
"""A service that has not been heard of for so long counts as gone."""
REMEMBERED_MS: Final = 3_600_000

log = structlog.get_logger(__name__)


class Reading(StrEnum):
    """The services that read streams."""

    PERSISTER = "persister"
    CACHE_BUILDER = "cache-builder"


class Heartbeats:
    """One sorted set in Redis. Raises LogUnavailable (Redis away)."""

    def __init__(self, functions: Functions, keys: Keys) -> None:
        self._functions = functions
        self._key = keys.heartbeats()

    async def beat(self, service: Reading, name: str) -> None:
        """Say that the process `name` lives."""
        await self._functions.call("heartbeat", [self._key], f"{service} {name}", REMEMBERED_MS)

    async def silence(self, service: Reading) -> list[float]:
        """For how many seconds each process of a kind has been silent, the liveliest first."""
        return list((await self._silences(service)).values())

    async def silent(self, service: Reading) -> list[str]:
        """The processes of a kind that were heard of within the hour and count as gone now."""
        silences = await self._silences(service)
        return [name for name, seconds in silences.items() if seconds >= SILENT_SECONDS]

    async def _silences(self, service: Reading) -> dict[str, float]:
        client = self._functions.client
        # The clock of the server that noted the beats.
        seconds, micros = await (await client.near(self._key)).call("TIME")
        found = await client.call("ZREVRANGE", self._key, 0, -1, "WITHSCORES")
        now = int(seconds) + int(micros) / 1_000_000
        beats = zip(found[::2], found[1::2], strict=True)
        ours = f"{service} "
        return {
            name.decode().removeprefix(ours): max(0.0, now - int(at) / 1000)
            for name, at in beats
            if name.startswith(ours.encode())
        }

    async def is_alive(self, service: Reading) -> bool:
        """Whether any process of a kind has been heard of lately."""
        return any(seconds < SILENT_SECONDS for seconds in await self.silence(service))

    async def keep_beating(self, service: Reading, name: str, *, every_seconds: float = BEAT_SECONDS) -> None:
        """Beat until cancelled. While Redis is away, nobody hears it."""
        while True:
            try:
                await self.beat(service, name)
            except (LogUnavailable, ResponseError) as error:
                # Work goes on without it: it is only how others know.
                log.debug("heartbeat_missed", reason=str(error))
            await asyncio.sleep(every_seconds)

"""How reads were answered, counted by the hour for all gateways together."""

from __future__ import annotations

from typing import Final

from common.redis.commands import Client
from common.redis.keys import Keys

HOUR_MS: Final = 3_600_000
KEPT_HOURS: Final = 25


class CacheStats:
    """The counts in Redis. Raises LogUnavailable (Redis away)."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def add(self, hits: int, misses: int, *, at_ms: int) -> None:
        """Add to the hour of `at_ms`."""
        key = self._keys.stats(at_ms // HOUR_MS)
        await self._client.call_together(
            ("HINCRBY", key, "hits", hits),
            ("HINCRBY", key, "misses", misses),
            ("EXPIRE", key, KEPT_HOURS * HOUR_MS // 1000),
        )

    async def since(self, at_ms: int, *, until_ms: int) -> tuple[int, int]:
        """Hits and misses of the hours from that of `at_ms` to that of `until_ms`, both included."""
        hours = range(at_ms // HOUR_MS, until_ms // HOUR_MS + 1)
        found = await self._client.call_together(
            *(("HMGET", self._keys.stats(hour), "hits", "misses") for hour in hours)
        )
        return sum(int(hits or 0) for hits, _ in found), sum(int(misses or 0) for _, misses in found)

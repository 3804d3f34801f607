"""What is cached, dropped, so that reads come from PostgreSQL; and the dead letters, counted."""

from __future__ import annotations

import redis.asyncio

from tests.chaos.instance import Instance


async def drop_caches(instance: Instance) -> int:
    """Take away every key that may expire, as time would; how many there were."""
    dropped = 0
    async with redis.asyncio.Redis.from_url(instance.valkey.spec.dsn) as client:
        async for key in client.scan_iter(count=1000):
            if await client.pttl(key) >= 0:
                dropped += await client.unlink(key)
    return dropped


async def parked_events(instance: Instance) -> int:
    """How many events are in the dead letters."""
    async with redis.asyncio.Redis.from_url(instance.valkey.spec.dsn, decode_responses=True) as client:
        prefix = instance.settings.redis.key_prefix
        lengths = [
            await client.xlen(f"{prefix}:{{{number}}}:dead")
            for number in range(instance.settings.redis.partitions)
        ]
    return sum(lengths)

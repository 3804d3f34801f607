"""What Turnlog demands of a Redis server before it uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import structlog.testing

from common.domain.errors import UnsafeConfiguration
from common.redis.durability import redis_weaknesses
from common.redis.functions import Functions
from common.redis.info import parse_info
from common.redis.keys import Keys
from common.redis.server import prepare_server, prepare_when_there
from tests.redis_parts import RedisParts, redis_parts


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[RedisParts]:
    async with redis_parts(redis_url) as parts:
        yield parts
        await parts.client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_a_policy_that_may_evict_the_log_is_refused(redis: RedisParts, policy: str) -> None:
    """And the text says which setting to change, and to what."""
    await redis.client.call("CONFIG", "SET", "maxmemory-policy", policy)
    with pytest.raises(UnsafeConfiguration, match=f"{policy}.*noeviction"):
        await prepare_server(redis.functions, redis.keys)


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
async def test_a_policy_that_leaves_the_log_alone_is_fine(redis: RedisParts, policy: str) -> None:
    """What may expire may be evicted: all of it is in PostgreSQL."""
    await redis.client.call("CONFIG", "SET", "maxmemory-policy", policy)
    await prepare_server(redis.functions, redis.keys)
    assert await redis.functions.is_current()


async def test_another_partition_count_is_refused(redis: RedisParts) -> None:
    """A user's conversations would be looked for in another partition, and not be there."""
    await prepare_server(redis.functions, redis.keys)
    with pytest.raises(UnsafeConfiguration, match="REDIS_PARTITIONS=8"):
        await prepare_server(redis.functions, Keys("chat", 4))


async def test_an_older_library_is_replaced(redis: RedisParts) -> None:
    """By whichever program starts last."""
    old = "#!lua name=turnlog\nredis.register_function('turnlog_append', function() return 'old' end)"
    await redis.client.call("FUNCTION", "LOAD", "REPLACE", old)
    assert not await redis.functions.is_current()
    await prepare_server(redis.functions, redis.keys)
    assert await redis.functions.is_current()


async def test_a_service_waits_for_redis_until_it_is_told_to_stop() -> None:
    """It is no error that Redis comes up later."""
    stop = asyncio.Event()
    async with redis_parts("redis://127.0.0.1:1/0") as away:
        waiting = asyncio.create_task(prepare_when_there(Functions(away.client), away.keys, stop))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        stop.set()
        assert await waiting is False


def test_info_is_read_as_it_is_written() -> None:
    """Sections and empty lines are no facts; a value may hold colons."""
    assert parse_info(b"# Server\r\nredis_version:9.1\r\n\r\ndb0:keys=1\r\npath:/a:b\r\n") == {
        "redis_version": "9.1",
        "db0": "keys=1",
        "path": "/a:b",
    }


@pytest.mark.parametrize(
    ("weaker", "ours", "name", "said"),
    [
        ("appendfsync everysec", "always", "redis_fsync_everysec", "up to one second"),
        ("appendfsync no", "always", "redis_fsync_no", "power failure or kernel crash"),
        ("appendonly no", "yes", "redis_without_aof", "not yet in PostgreSQL are lost"),
    ],
)
async def test_a_server_that_may_lose_messages_is_warned_of(
    redis: RedisParts, weaker: str, ours: str, name: str, said: str
) -> None:
    """With what exactly may be lost; the server that we start ourselves may lose nothing."""
    assert [w.name for w in await redis_weaknesses(redis.client) if not w.minor] == []
    setting, value = weaker.split()
    await redis.client.call("CONFIG", "SET", setting, value)
    try:
        with structlog.testing.capture_logs() as logs:
            await prepare_server(redis.functions, redis.keys)
    finally:
        await redis.client.call("CONFIG", "SET", setting, ours)
    [line] = [line for line in logs if line["log_level"] == "warning"]
    assert line["event"] == name
    assert said in line["consequence"]

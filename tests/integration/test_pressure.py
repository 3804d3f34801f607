"""A log that is too far behind, or short of memory, takes no more, says so, and recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from common.domain.errors import Overloaded
from common.domain.ids import UserId, new_conversation_id
from common.redis.group import GROUP
from common.redis.log import FRESH, IDS_ARE_FRESH, Creation, Idempotency
from common.redis.pressure import Backlog, Bounds, Pressure
from tests.redis_parts import ALICE, NOW, STATE, RedisParts, message, redis_parts
from tests.waiting import wait_until

MEGABYTE = 1024 * 1024


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[RedisParts]:
    async with redis_parts(redis_url) as parts:
        yield parts
        await parts.client.call("CONFIG", "SET", "maxmemory", 0)


async def bounded(redis: RedisParts, **bounds: int) -> Pressure:
    """Set bounds, from the next change on."""
    pressure = Pressure(redis.functions, redis.keys, Bounds(**bounds))
    await pressure.set_bounds()
    return pressure


async def look_again(redis: RedisParts) -> None:
    """Let the next change measure anew, as it does when a sample is a quarter of a second old."""
    await redis.client.call("HSET", redis.keys.log(redis.keys.partition(ALICE)), "sampled_at", 0)


async def append(redis: RedisParts, conversation: Any, text: str = "hello", **fields: Any) -> None:
    await redis.log.append(ALICE, conversation, [message(text, **fields)], at_ms=NOW)


async def refused(redis: RedisParts, conversation: Any) -> bool:
    """Whether an append is refused, and nothing is then on the log."""
    await look_again(redis)
    before = len(await redis.events())
    try:
        await append(redis, conversation)
    except Overloaded:
        return len(await redis.events()) == before
    return False


async def backlog(redis: RedisParts) -> Backlog:
    pressure = Pressure(redis.functions, redis.keys, Bounds())
    return await pressure.backlog(redis.keys.partition(ALICE))


async def test_too_many_events_are_refused_until_most_are_committed(redis: RedisParts) -> None:
    """Whoever appended them; and not in turns with being taken: only below 80 % is more taken again."""
    await bounded(redis, max_events=10)
    conversation = await redis.conversation()
    for _ in range(9):
        await append(redis, conversation)
    assert await refused(redis, conversation)
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    [first, second, third, *_] = await redis.group.read_new(
        redis.client, partition, "test", count=100, block_ms=1
    )
    await redis.client.call("XACK", redis.keys.events(partition), GROUP, first.position, second.position)
    assert (await backlog(redis)).events == 8
    assert await refused(redis, conversation), "below the bound, and not below its low mark"
    await redis.client.call("XACK", redis.keys.events(partition), GROUP, third.position)
    assert not await refused(redis, conversation)


async def test_too_many_bytes_are_refused(redis: RedisParts) -> None:
    """However few events they are in; what is committed does not count."""
    await bounded(redis, max_bytes=MEGABYTE)
    conversation = await redis.conversation()
    await append(redis, conversation, "x" * MEGABYTE)
    assert (await backlog(redis)).bytes > MEGABYTE
    assert await refused(redis, conversation)
    await redis.persist_all()
    assert (await backlog(redis)).bytes == 0
    assert not await refused(redis, conversation)


async def test_an_event_that_waits_too_long_stops_the_others(redis: RedisParts) -> None:
    """Read by a persister or not."""
    pressure = await bounded(redis, max_age_ms=20)
    conversation = await redis.conversation()
    partition = redis.keys.partition(ALICE)

    async def old() -> bool:
        return (await pressure.backlog(partition)).age_ms >= 20

    await wait_until(old)
    assert await refused(redis, conversation)
    await redis.group.create(partition)
    await redis.group.read_new(redis.client, partition, "slow", count=100, block_ms=1)
    assert await refused(redis, conversation)
    await redis.client.call("XGROUP", "DESTROY", redis.keys.events(partition), GROUP)
    await redis.persist_all()
    assert not await refused(redis, conversation)


@pytest.mark.parametrize("bound", ["percent", "bytes"])
async def test_a_server_short_of_memory_takes_no_more(redis: RedisParts, bound: str) -> None:
    """Before it is full: what commits and settles needs room to do so."""
    conversation = await redis.conversation()
    used = (await backlog(redis)).memory_bytes
    if bound == "percent":
        await redis.client.call("CONFIG", "SET", "maxmemory", int(used * 1.5))
        await bounded(redis, max_memory_percent=50)
    else:
        await bounded(redis, max_memory_bytes=used // 2)
    assert await refused(redis, conversation)
    assert (await backlog(redis)).refuses == "memory"
    await redis.client.call("CONFIG", "SET", "maxmemory", used * 10)
    if bound == "bytes":
        await bounded(redis, max_memory_bytes=used * 10)
    assert not await refused(redis, conversation)


async def test_a_server_that_evicts_may_be_full(redis: RedisParts) -> None:
    """Its caches make room: full is how it is meant to be."""
    conversation = await redis.conversation()
    await redis.client.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    await redis.client.call("CONFIG", "SET", "maxmemory", 100 * MEGABYTE)
    await bounded(redis, max_memory_percent=1)
    assert not await refused(redis, conversation)
    await redis.client.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert await refused(redis, conversation)


async def test_where_memory_is_short_nothing_is_kept_for_replay(redis: RedisParts) -> None:
    """Committed events go, whatever the replay window says; nothing else does."""
    conversation = await redis.conversation()
    for _ in range(300):
        await append(redis, conversation)
    await redis.persist_all()
    await append(redis, conversation)
    partition = redis.keys.partition(ALICE)
    assert await redis.group.trim(partition, keep_from_ms=0) == 0
    await bounded(redis, max_memory_bytes=1)
    assert await redis.group.trim(partition, keep_from_ms=0) > 0
    assert (await backlog(redis)).events == 1


async def test_what_is_there_already_is_answered(redis: RedisParts) -> None:
    """A repeated call stores nothing, so it is not refused; nor are reads and deletes."""
    conversation = await redis.conversation()
    await append(redis, conversation, id="m1")
    key = Idempotency("key", "digest")
    keyed = [message("keyed")]
    await redis.log.append(ALICE, conversation, keyed, at_ms=NOW, checked=IDS_ARE_FRESH, idempotency=key)
    await bounded(redis, max_events=1)
    assert await refused(redis, conversation)
    await append(redis, conversation, id="m1")
    await redis.log.append(ALICE, conversation, keyed, at_ms=NOW, checked=IDS_ARE_FRESH, idempotency=key)
    _, created = await redis.log.create(ALICE, conversation, None, at_ms=NOW)
    assert not created
    assert await redis.cache.tail(ALICE, conversation, 10)
    await redis.log.delete(ALICE, conversation, at_ms=NOW)


async def test_every_other_change_is_refused(redis: RedisParts) -> None:
    """New conversations, with messages and without, changes, and logged queries; not those of others."""
    conversation = await redis.conversation()
    await bounded(redis, max_events=1)
    await look_again(redis)
    fresh = Creation(FRESH, STATE)
    change = {"title": b'"t"', "model": b"", "metadata": b""}
    before = len(await redis.events())
    for attempt in (
        redis.log.create(ALICE, new_conversation_id(), fresh, at_ms=NOW),
        redis.log.append(ALICE, new_conversation_id(), [message()], at_ms=NOW, create=fresh),
        redis.log.append(ALICE, new_conversation_id(), [message()], at_ms=NOW),
        redis.log.update(ALICE, conversation, **change, at_ms=NOW),
        redis.log.log_query(ALICE, None, log_id="1", log=b"{}", at_ms=NOW),
    ):
        with pytest.raises(Overloaded, match="nothing was stored"):
            await attempt
    assert len(await redis.events()) == before
    elsewhere = next(
        user
        for user in (UserId(f"user-{i}") for i in range(100))
        if redis.keys.partition(user) != redis.keys.partition(ALICE)
    )
    await redis.log.create(elsewhere, new_conversation_id(), fresh, at_ms=NOW)


async def test_many_publishers_overshoot_by_no_more_than_a_sample(redis_url: str, redis: RedisParts) -> None:
    """The log itself keeps the bound: nobody has to have asked before. Once refused, all are."""
    await bounded(redis, max_events=50)
    async with redis_parts(redis_url) as second, redis_parts(redis_url) as third:
        conversations = [await parts.conversation() for parts in (redis, second, third)]
        await look_again(redis)

        async def publish(parts: RedisParts, conversation: Any) -> int:
            taken = 0
            while True:
                try:
                    await append(parts, conversation)
                except Overloaded:
                    return taken
                taken += 1

        sides = zip((redis, second, third), conversations, strict=True)
        taken = await asyncio.gather(*(publish(*side) for side in sides))
        # Had nobody refused, this would not have ended.
        assert len(await redis.events()) == 3 + sum(taken) >= 50
        for parts, conversation in zip((redis, second, third), conversations, strict=True):
            with pytest.raises(Overloaded):
                await append(parts, conversation)


async def test_the_bounds_come_back_with_a_redis_that_was_emptied(redis: RedisParts) -> None:
    """And are those of whoever watches, without a restart."""
    pressure = Pressure(redis.functions, redis.keys, Bounds(max_events=1))
    watching = asyncio.create_task(pressure.watch(every_seconds=0.01))
    key = redis.keys.log(redis.keys.partition(ALICE))

    async def there() -> bool:
        return await redis.client.call("HGET", key, "max_events") == b"1"

    await wait_until(there)
    await redis.client.call("FLUSHALL")
    await wait_until(there)
    conversation = await redis.conversation()
    assert await refused(redis, conversation)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_the_functions_know_the_persisters_by_their_name() -> None:
    """The one name that Lua cannot be given."""
    from common.redis.functions import library_source

    assert f"local PERSISTERS = '{GROUP}'" in library_source()

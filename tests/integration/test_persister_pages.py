"""What a persister asks of the log at once is bounded in bytes, however large the largest messages are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import pytest

from common.domain.ids import Position, UserId
from common.postgres.pool import Pool
from common.redis.group import GROUP, PAGE_BYTES
from common.settings import PersisterSettings, Settings
from services.persister.channel import size_of
from tests.persisters import running_persister
from tests.record import pool_of
from tests.redis_parts import ALICE, NOW, RedisParts, message, redis_parts
from tests.waiting import wait_until

LARGE: Final = 256 * 1024
"""Bytes of a large message here: 8 MiB would only take longer."""
FULL: Final = 2 * 1024 * 1024
"""Bytes of a batch and of a full channel here."""


@pytest.fixture
async def redis(settings: Settings) -> AsyncGenerator[RedisParts]:
    async with redis_parts(settings.redis.dsn) as parts:
        yield parts


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def append(redis: RedisParts, sizes: list[int], user: UserId = ALICE) -> int:
    """Append messages of these sizes; the partition."""
    conversation = await redis.conversation(user)
    for size in sizes:
        await redis.log.append(user, conversation, [message("x" * size)], at_ms=NOW)
    partition = redis.keys.partition(user)
    await redis.group.create(partition)
    return partition


async def pages(redis: RedisParts, partition: int, max_bytes: int) -> list[list[int]]:
    """The sizes of all entries that nobody had, page by page."""
    found: list[list[int]] = []
    while page := await redis.group.read_page(
        redis.functions, partition, "us", count=200, max_bytes=max_bytes
    ):
        found.append([size_of(entry) for entry in page])
    return found


async def test_a_page_is_over_its_bound_by_no_more_than_its_last_entry(redis: RedisParts) -> None:
    """One of one entry is always possible, and none is left out."""
    sizes = [100, LARGE, LARGE, 100, 100, LARGE, 100]
    partition = await append(redis, sizes)
    found = await pages(redis, partition, max_bytes=LARGE)
    assert sum(map(len, found)) == 1 + len(sizes)
    assert all(sum(page[:-1]) < LARGE for page in found)
    assert len(found) == 4


async def test_a_claim_is_bounded_like_a_read(redis: RedisParts) -> None:
    """All that a consumer held is claimed, in pages of no more than one entry over the bound."""
    partition = await append(redis, [LARGE] * 6)
    await redis.group.read_new(redis.client, partition, "gone", count=100, block_ms=1)
    claim = redis.group.claim_stale(partition, "us", min_idle_ms=0, count=100, max_bytes=2 * LARGE)
    found = [[size_of(entry) for entry in page.entries] async for page in claim]
    assert sum(map(len, found)) == 7
    assert all(sum(page[:-1]) < 2 * LARGE for page in found)


async def test_readers_are_told_of_large_entries_before_they_read_them(redis: RedisParts) -> None:
    """And only as long as there may be one: many small ones are read faster otherwise."""
    start = Position("0-0")
    partition = await append(redis, [100] * 3)
    assert not await redis.group.may_be_large(redis.client, partition, after=start)
    await append(redis, [LARGE, 100])
    assert await redis.group.may_be_large(redis.client, partition, after=start)
    *_, large, last = await redis.group.read_new(redis.client, partition, "us", count=100, block_ms=1)
    assert not await redis.group.may_be_large(redis.client, partition, after=large.position)
    assert not await redis.group.may_be_large(redis.client, partition, after=last.position)


async def test_a_persister_holds_no_more_than_its_bound_of_the_largest_messages(
    settings: Settings, redis: RedisParts, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch, a full channel and one page for each partition, while PostgreSQL takes nothing."""
    monkeypatch.setattr("services.persister.persister.MAX_BATCH_BYTES", FULL)
    users = {redis.keys.partition(user): user for user in (UserId(f"user {n}") for n in range(100))}
    await asyncio.gather(*(append(redis, [LARGE] * 20, user) for user in users.values()))
    quick = settings.model_copy(update={"persister": PersisterSettings(block_ms=20)})
    async with pool.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        async with running_persister(quick):
            # Each reader has read once, at least: what it read lies in a batch, in the channel or before it.
            await wait_until(lambda: _all_have_read(redis), timeout_seconds=60)
            held = sum([await _held_bytes(redis, partition) for partition in range(redis.keys.partitions)])
            await transaction.rollback()
    page = PAGE_BYTES + LARGE + 1_000
    assert held <= FULL + (FULL + page) + redis.keys.partitions * page


async def _held(redis: RedisParts, partition: int) -> list[Position]:
    """The positions that were read and are not settled."""
    found = await redis.client.call("XPENDING", redis.keys.events(partition), GROUP, "-", "+", 10_000)
    return [Position(position.decode()) for position, *_ in found]


async def _held_bytes(redis: RedisParts, partition: int) -> int:
    """The bytes of the entries that were read and are not settled."""
    size = 0
    for position in await _held(redis, partition):
        [(_, fields)] = await redis.client.call("XRANGE", redis.keys.events(partition), position, position)
        size += sum(map(len, fields[1::2]))
    return size


async def _all_have_read(redis: RedisParts) -> bool:
    return all([await _held(redis, partition) for partition in range(redis.keys.partitions)])

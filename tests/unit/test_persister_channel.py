"""What lies between the readers and the writer: bounded, and each entry in it once."""

from __future__ import annotations

import asyncio

import pytest

from common.domain.ids import Position
from common.redis.group import Entry
from services.persister.channel import Channel


def entries(*numbers: int, size: int = 10, partition: int = 0) -> list[Entry]:
    """Entries of `size` bytes at these positions."""
    return [Entry(partition, Position(f"{n}-0"), {b"m0": b"x" * size}) for n in numbers]


async def test_a_batch_is_what_is_there(channel: Channel) -> None:
    """Nobody waits for a batch to fill; order is kept."""
    await channel.put(entries(1, 2))
    await channel.put(entries(3))
    assert await channel.take(10) == entries(1, 2, 3)


async def test_a_batch_is_bounded_by_count_and_by_bytes(channel: Channel) -> None:
    """One that is larger than a batch may be is a batch of its own."""
    await channel.put(entries(1, 2, 3, size=40) + entries(4, size=500) + entries(5, 6))
    assert await channel.take(2) == entries(1, 2, size=40)
    assert await channel.take(10) == entries(3, size=40)
    assert await channel.take(10) == entries(4, size=500)
    assert await channel.take(10) == entries(5, 6)


@pytest.mark.parametrize("full", [entries(*range(5)), entries(1, size=100)])
async def test_a_full_channel_makes_readers_wait(channel: Channel, full: list[Entry]) -> None:
    """Full by count or by bytes: the next put goes through when something was taken."""
    await channel.put(full)
    waiting = asyncio.create_task(channel.put(entries(9)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await channel.take(10)
    await waiting
    assert await channel.take(10) == entries(9)


async def test_an_entry_that_is_claimed_again_is_there_once(channel: Channel) -> None:
    """Until it is settled, taken or not; positions of different partitions are different entries."""
    await channel.put(entries(1, 2))
    await channel.put(entries(2, 3) + entries(2, partition=1))
    taken = await channel.take(10)
    assert taken == entries(1, 2, 3) + entries(2, partition=1)
    await channel.put(entries(1))
    assert channel.unsettled == 4
    channel.settle(taken)
    await channel.put(entries(1))
    assert await channel.take(10) == entries(1)


async def test_a_closed_channel_is_emptied_first(channel: Channel) -> None:
    """What was put before is still taken; then there is nothing, and nobody waits."""
    await channel.put(entries(1))
    await channel.close()
    assert await channel.take(10) == entries(1)
    assert await channel.take(10) == []


@pytest.fixture
def channel() -> Channel:
    return Channel(max_entries=5, max_bytes=100)

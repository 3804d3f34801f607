"""A persister that was taken over from wakes at any moment: both write, and it is as if one had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import combinations
from typing import Final

import pytest

from common.contract.stream import decode
from common.domain.ids import ConversationId
from common.postgres.changes import Recorded
from common.postgres.writer import BatchWriter
from common.redis.group import Committed, Entry
from common.settings import Settings
from services.persister.upkeep import Upkeep
from tests.redis_parts import ALICE
from tests.stage import Stage, stage

TEXTS: Final = 12
IDLE_MS: Final = 3_600_000
STEPS: Final = 5
ORDERS: Final = [
    "".join("w" if step in of_the_woken else "o" for step in range(STEPS))
    for of_the_woken in combinations(range(STEPS), 2)
]
"""Two steps of the one that wakes (write, settle) among three of the other (claim, write, settle)."""


class Hand:
    """One persister, step by step."""

    def __init__(self, scene: Stage, entries: list[Entry] | None) -> None:
        self._scene = scene
        self._entries = entries or []
        self._steps = iter(
            [self.write, self.settle] if entries is not None else [self.claim, self.write, self.settle]
        )

    async def go_on(self) -> None:
        """The next step."""
        await next(self._steps)()

    async def claim(self) -> None:
        """Claim what has been let go."""
        group, partition = self._scene.redis.group, self._scene.redis.keys.partition(ALICE)
        pages = group.claim_stale(partition, "other", min_idle_ms=IDLE_MS, count=5)
        self._entries = [entry async for page in pages for entry in page.entries]

    async def write(self) -> None:
        """Commit them."""
        await BatchWriter(self._scene.pool).write([_recorded(entry) for entry in self._entries])

    async def settle(self) -> None:
        """Tell Redis."""
        events = [(entry.position, _recorded(entry).event) for entry in self._entries]
        settled = [Committed(position, event.user_id, event.conversation_id) for position, event in events]
        if settled:
            await self._scene.redis.group.committed(self._scene.redis.keys.partition(ALICE), settled)


def _recorded(entry: Entry) -> Recorded:
    return Recorded(entry.partition, entry.position, decode(entry.fields))


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as scene:
        yield scene


async def stopped_with_a_batch(scene: Stage) -> tuple[ConversationId, Hand]:
    """A conversation, and one that has read it, fallen silent, and whose entries have been let go."""
    conversation = await scene.conversation(TEXTS)
    group, partition = scene.redis.group, scene.redis.keys.partition(ALICE)
    await group.create(partition)
    entries = await group.read_new(scene.redis.client, partition, "stopped", count=100, block_ms=1)
    assert len(entries) == TEXTS + 1
    await group.let_go(partition, ["stopped"], idle_ms=IDLE_MS)
    return conversation, Hand(scene, entries)


async def assert_once(scene: Stage, conversation: ConversationId) -> None:
    """Each message is there once, in both stores, nothing waits, and the next has the next number."""
    rows = await scene.pool.fetch("SELECT sequence_number FROM messages ORDER BY sequence_number")
    assert [row[0] for row in rows] == list(range(TEXTS))
    assert await scene.pool.fetchval("SELECT message_count FROM conversations") == TEXTS
    lag = await scene.redis.group.lag(scene.redis.keys.partition(ALICE))
    assert (lag.waiting, lag.pending) == (0, 0)
    await scene.append(conversation, "the next")
    assert await scene.numbers(conversation) == list(range(TEXTS + 1))
    await scene.drop_caches()
    assert await scene.numbers(conversation) == list(range(TEXTS + 1))


@pytest.mark.parametrize("order", ORDERS)
async def test_it_wakes_between_any_two_steps_of_the_other(scene: Stage, order: str) -> None:
    """Whoever settles first, the other's writes and settlements change nothing."""
    conversation, woken = await stopped_with_a_batch(scene)
    other = Hand(scene, None)
    for who in order:
        await (woken if who == "w" else other).go_on()
    await assert_once(scene, conversation)


async def test_both_write_at_the_same_time(scene: Stage) -> None:
    """Two transactions with the same events wait for each other, and the second finds all there."""
    conversation, woken = await stopped_with_a_batch(scene)
    other = Hand(scene, None)
    await other.go_on()
    await asyncio.gather(woken.go_on(), other.go_on())
    await asyncio.gather(woken.go_on(), other.go_on())
    await assert_once(scene, conversation)


async def test_it_wakes_when_what_it_held_is_off_the_log(scene: Stage) -> None:
    """Long after the other has committed, settled and trimmed all of it."""
    conversation, woken = await stopped_with_a_batch(scene)
    other = Hand(scene, None)
    for _ in range(3):
        await other.go_on()
    partition = scene.redis.keys.partition(ALICE)
    await scene.redis.client.call("XTRIM", scene.redis.keys.events(partition), "MAXLEN", 0)
    await Upkeep(scene.redis.group, partitions=8, replay_window_seconds=0).look_after(partition)
    await woken.go_on()
    await woken.go_on()
    await assert_once(scene, conversation)

"""`turnlog verify` while everything is in use: no false alarm, and no repair that undoes what happened since.

The gates stand between its look at Redis and its look at PostgreSQL, and between what it judged and what it
mends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import asyncpg
import pytest

from common.contract.stream import decode
from common.domain.errors import Busy, ConversationNotFound
from common.domain.ids import ConversationId, Position
from common.domain.messages import numbered
from common.postgres.audit import RecordAudit
from common.postgres.changes import Recorded
from common.postgres.pool import Pool
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.persisters import QUICK, running_persister, wait_settled
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW, message
from tests.stage import Gate, Stage, stage
from tests.verifying import GatedList, GatedMending, GatedRecord, parts_of, verify
from tests.waiting import wait_until
from tools.verify.findings import Finding, Kind

Change = Callable[[Stage, ConversationId], Awaitable[object]]


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        yield made


async def append(scene: Stage, conversation: ConversationId) -> None:
    await scene.append(conversation, "meanwhile")


async def rename(scene: Stage, conversation: ConversationId) -> None:
    await scene.parts.publisher.update(ALICE, conversation, at_ms=NOW + 1, title="Renamed")


async def delete(scene: Stage, conversation: ConversationId) -> None:
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW + 1)


async def nothing(scene: Stage, conversation: ConversationId) -> None:
    pass


async def expire(scene: Stage, conversation: ConversationId) -> None:
    await scene.drop_caches()


async def meanwhile(gate: Gate, judging: Awaitable[object], change: Awaitable[object]) -> None:
    """Let `judging` come to the gate, make the change, let it through."""
    gate.shut()
    task = asyncio.ensure_future(judging)
    await gate.reached.wait()
    await change
    gate.passable.set()
    await task


@pytest.mark.parametrize("change", [append, rename, delete, expire, nothing])
@pytest.mark.parametrize("place", ["before", "behind"])
async def test_a_change_that_is_committed_between_the_two_looks_is_no_drift(
    scene: Stage, place: str, change: Change
) -> None:
    """PostgreSQL is newer than what Redis said (before its look), or older than what Redis says (behind)."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.append(conversation, "pending")
    await scene.parts.listing.page(ALICE, page=1, page_size=10)
    record = GatedRecord(scene.pool)
    check = parts_of(scene, record=record).conversations

    async def judge() -> None:
        assert (await check.judge(ALICE, conversation)).found == []

    async def happen() -> None:
        await change(scene, conversation)
        await persist(scene)

    await meanwhile(getattr(record, place), judge(), happen())


@pytest.mark.parametrize("change", [append, rename, delete, expire, nothing])
async def test_a_list_that_changes_between_the_two_looks_is_no_drift(scene: Stage, change: Change) -> None:
    """The same for a user's list: what was not pending at the first look is newer at the second."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.parts.listing.page(ALICE, page=1, page_size=10)
    store = GatedList(scene.pool)
    users = parts_of(scene, store=store).users

    async def judge() -> None:
        assert await users.judge(ALICE) == []

    async def happen() -> None:
        await change(scene, conversation)
        await persist(scene)

    await meanwhile(store.before, judge(), happen())


async def test_events_that_are_committed_out_of_order_are_no_drift(scene: Stage) -> None:
    """Two persisters: the later event is in PostgreSQL, the earlier still waits. No gap, no wrong count."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    for text in ("earlier", "later"):
        await scene.append(conversation, text)
    await rename(scene, conversation)
    for last in (-1, -2):
        event = decode((await scene.redis.events())[last])
        await BatchWriter(scene.pool).write([Recorded(0, Position("1-1"), event)])
        tally = await verify(parts_of(scene))
        assert (tally.drift, tally.undecided) == (0, 0), tally.examples


async def test_a_header_is_not_put_right_by_what_is_no_longer_so(scene: Stage) -> None:
    """Judged, then deleted, then mended: the deletion stands, at every moment."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    cache = GatedMending(scene)
    look = await cache.look(ALICE, conversation)
    assert look.header is not None
    await delete(scene, conversation)
    assert not await cache.set_header(look, look.header)
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)


@pytest.mark.parametrize(
    ("field", "value"), [("count", 1), ("title", '"Another"'), ("next", 1), ("version", 1)]
)
async def test_an_append_during_a_repair_is_there_after_it(scene: Stage, field: str, value: str) -> None:
    """It comes between what was judged and what is mended by it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.redis.client.call("HSET", keys.header, field, value)
    cache = GatedMending(scene)
    parts = parts_of(scene, cache=cache)
    # A header whose next number is too low gives numbers twice: nothing to append with before it is mended.
    change = nothing(scene, conversation) if field == "next" else append(scene, conversation)
    await meanwhile(cache.before, verify(parts, repair=True), change)

    await persist(scene)
    tally = await verify(parts_of(scene))
    assert (tally.drift, tally.undecided) == (0, 0), tally.examples
    await append(scene, conversation)
    expected = [0, 1, 2, 3] if field == "next" else [0, 1, 2, 3, 4]
    assert await scene.numbers(conversation) == expected


async def test_a_counter_never_goes_down(scene: Stage) -> None:
    """A header that is set to less keeps what it has given."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    cache = GatedMending(scene)
    look = await cache.look(ALICE, conversation)
    record = await scene.store.load(ALICE, conversation, 1)
    assert record is not None
    await scene.redis.client.call(
        "HSET", scene.redis.keys.conversation(ALICE, conversation).header, "next", 8, "version", 9
    )
    look = await cache.look(ALICE, conversation)
    assert await cache.set_header(look, record.header)
    header = await scene.redis.cache.header(ALICE, conversation)
    assert header is not None
    assert (header.next_sequence_number, header.version) == (8, 9)


async def test_an_event_that_is_still_held_is_not_taken_off_its_pending_list(scene: Stage) -> None:
    """It looked settled, or gone; at the moment of the repair it is neither."""
    conversation = await scene.conversation(messages=1)
    position = await scene.redis.client.call(
        "LINDEX", scene.redis.keys.conversation(ALICE, conversation).pending, 0
    )
    cache = GatedMending(scene)
    assert await cache.settle(ALICE, conversation, [Position(position.decode())]) == 0
    await scene.redis.group.create(scene.redis.keys.partition(ALICE))
    await scene.redis.group.read_new(
        scene.redis.client, scene.redis.keys.partition(ALICE), "slow", count=10, block_ms=1
    )
    assert await cache.settle(ALICE, conversation, [Position(position.decode())]) == 0
    assert len((await cache.look(ALICE, conversation)).waiting) == 2


PAUSE_SECONDS = 0.04
"""Between two calls of one client: more would only make the test wait for its own writers."""


class Traffic:
    """Writers, readers and an operator who drops caches, until told to stop."""

    def __init__(self, scene: Stage, conversations: list[ConversationId]) -> None:
        self.scene = scene
        self.conversations = conversations
        self.stopping = False
        self.acknowledged: dict[ConversationId, dict[int, str]] = {c: {} for c in conversations}

    async def write(self, conversation: ConversationId) -> None:
        publisher = self.scene.parts.publisher
        written = 0
        while not self.stopping:
            sent = [message(f"{written}"), message(f"{written} again")]
            try:
                appended = await publisher.append(ALICE, conversation, sent, at_ms=NOW + written)
            except Busy:  # its cache was dropped each time that it was loaded: a client asks again
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for stored, new in zip(appended.messages, sent, strict=True):
                number = numbered(stored).sequence_number
                assert self.acknowledged[conversation].setdefault(number, new.id) == new.id
            written += 1
            if written % 5 == 0:
                title = str(written)
                await publisher.update(ALICE, conversation, at_ms=NOW + written, title=title)
            await asyncio.sleep(PAUSE_SECONDS)

    async def come_and_go(self) -> None:
        while not self.stopping:
            conversation = await self.scene.conversation(messages=2)
            await self.scene.numbers(conversation)
            await self.scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
            await asyncio.sleep(2 * PAUSE_SECONDS)

    async def read(self) -> None:
        while not self.stopping:
            for conversation in self.conversations:
                await self.scene.numbers(conversation)
            await self.scene.parts.listing.page(ALICE, page=1, page_size=50)
            await asyncio.sleep(PAUSE_SECONDS)

    async def evict(self) -> None:
        while not self.stopping:
            await self.scene.drop_caches()
            await asyncio.sleep(2 * PAUSE_SECONDS)


async def under_traffic(
    scene: Stage, conversations: list[ConversationId], work: Callable[[], Awaitable[None]]
) -> Traffic:
    """Do `work` while all goes on, then let it come to rest."""
    traffic = Traffic(scene, conversations)
    async with asyncio.TaskGroup() as tasks:
        for conversation in conversations:
            tasks.create_task(traffic.write(conversation))
        for other in (traffic.come_and_go, traffic.read, traffic.evict):
            tasks.create_task(other())
        await wait_until(lambda: all(len(found) > 4 for found in traffic.acknowledged.values()))
        await work()
        traffic.stopping = True
    await wait_settled(scene.redis)
    return traffic


async def test_a_busy_instance_has_no_drift(settings: Settings) -> None:
    """Writers, readers, renames, deletions, evictions and a persister at work: round after round, nothing."""
    settings = settings.model_copy(update={"persister": QUICK})
    async with stage(settings, length=10) as scene, running_persister(settings):
        conversations = [await scene.conversation(messages=1) for _ in range(4)]
        parts = parts_of(scene)

        async def rounds() -> None:
            for _ in range(6):
                tally = await verify(parts)
                assert tally.drift == 0, tally.examples
                assert tally.conversations >= 4

        await wait_settled(scene.redis)
        await under_traffic(scene, conversations, rounds)
        tally = await verify(parts)
        assert (tally.drift, tally.undecided) == (0, 0), tally.examples


async def test_a_repair_under_traffic_loses_nothing_and_moves_nothing_backwards(settings: Settings) -> None:
    """Drift is planted and mended again and again while it is being written to: every acknowledged message
    is there once, under the number that was given, in both."""
    settings = settings.model_copy(update={"persister": QUICK})
    async with stage(settings, length=10_000) as scene, running_persister(settings):
        conversations = [await scene.conversation(messages=1) for _ in range(3)]
        parts = parts_of(scene)

        async def plant_and_mend() -> None:
            for turn in range(3):
                for conversation in conversations:
                    keys = scene.redis.keys.conversation(ALICE, conversation)
                    await scene.redis.client.call("HINCRBY", keys.header, "count", 3)
                    await scene.redis.client.call("RPOP", keys.messages)
                    await scene.redis.client.call("RPUSH", keys.pending, f"1-{turn + 1}")
                await verify(parts, repair=True)

        traffic = await under_traffic(scene, conversations, plant_and_mend)
        assert (await verify(parts, repair=True)).left == 0
        tally = await verify(parts)
        assert (tally.drift, tally.undecided) == (0, 0), tally.examples
        for conversation, acknowledged in traffic.acknowledged.items():
            rows = await scene.pool.fetch(
                "SELECT sequence_number, id FROM messages WHERE conversation_id = $1", conversation
            )
            stored = {row[0]: row[1] for row in rows}
            assert acknowledged.items() <= stored.items()
            assert sorted(stored) == list(range(len(stored)))
            assert await scene.numbers(conversation, 10_000) == sorted(stored)


class GatedRecorded(RecordAudit):
    """The record with a gate before it is asked which messages it has."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.gate = Gate()

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        if name == "verify_recorded_messages":
            await self.gate.wait()
        return await super()._fetch(name, *arguments)


async def test_a_deletion_between_two_questions_is_no_loss(scene: Stage) -> None:
    """It takes the messages away before they are asked for, and after the conversation could have been."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    record = GatedRecorded(scene.pool)
    parts = parts_of(scene, record=record)

    async def judge() -> None:
        tally = await verify(parts)
        assert tally.drift == 0, tally.examples

    async def happen() -> None:
        await delete(scene, conversation)
        await persist(scene)

    await meanwhile(record.gate, judge(), happen())


async def test_what_is_lost_is_named_once_it_cannot_come(scene: Stage) -> None:
    """A row that is taken away from PostgreSQL is missed, whatever Redis still shows."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    await scene.pool.execute("DELETE FROM messages WHERE sequence_number = 1")
    tally = await verify(parts_of(scene))
    assert (
        Finding(kind=Kind.RECORD_GAP, user=ALICE, conversation=conversation, number=1)
        in (tally.examples[Kind.RECORD_GAP])
    )

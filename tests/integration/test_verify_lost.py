"""What only one of the two has: events lost between them, orphans, gaps, and what is not drift at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from common.contract.stream import decode
from common.domain.errors import ConversationNotFound
from common.domain.events import MessagesAppended
from common.domain.ids import ConversationId, Position, new_conversation_id
from common.postgres.changes import Recorded
from common.postgres.writer import BatchWriter
from common.redis.dead import DeadLetters
from common.redis.group import GROUP, Entry, Refusal
from common.settings import PersisterSettings, Settings
from tests.integration.test_verify import SIX, goes_on, is_clean, mends, settled
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW, STATE
from tests.stage import Stage, stage
from tests.verifying import kinds, parts_of, verify
from tools.dead.selection import Selection
from tools.replay.from_log import LogSource
from tools.replay.selection import Selection as ReplaySelection
from tools.verify.findings import Kind


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        yield made


async def swallow(scene: Stage, *, settle: bool) -> list[Entry]:
    """A consumer that acknowledges what it never wrote; with `settle` it says so to the caches, too."""
    if settle:
        return await scene.redis.persist_all()
    events = scene.redis.keys.events(scene.redis.keys.partition(ALICE))
    entries = await read_all(scene)
    await scene.redis.client.call("XACK", events, GROUP, *(entry.position for entry in entries))
    return entries


async def read_all(scene: Stage, consumer: str = "thief") -> list[Entry]:
    """Take all new entries as a consumer."""
    partition = scene.redis.keys.partition(ALICE)
    await scene.redis.group.create(partition)
    return await scene.redis.group.read_new(scene.redis.client, partition, consumer, count=1000, block_ms=1)


async def test_an_event_that_was_settled_and_never_stored_is_stored(scene: Stage) -> None:
    """It is on the log and nobody would ever read it again."""
    conversation = await settled(scene)
    await scene.append(conversation, "lost")
    await swallow(scene, settle=True)
    await mends(
        scene,
        *(Kind.LOG_LOST, Kind.HEADER_NEXT_AHEAD, Kind.HEADER_COUNT, Kind.HEADER_VERSION, Kind.HEADER_PREVIEW),
        *(Kind.LIST_EXTRA, Kind.USER_LIST_SUMMARY, Kind.IDS_UNKNOWN),
    )
    assert await scene.pool.fetchval("SELECT count(*) FROM messages") == 7
    assert await scene.numbers(conversation) == [*SIX, 6]
    await goes_on(scene, conversation, number=7)


async def test_an_acknowledged_event_that_still_is_pending_is_stored_and_settled(scene: Stage) -> None:
    """Acknowledged to the group without being settled: in PostgreSQL or not, it is after."""
    conversation = await settled(scene)
    await scene.append(conversation, "lost")
    await swallow(scene, settle=False)
    await mends(scene, Kind.LOG_LOST, Kind.PENDING_ORPHAN)
    assert await scene.numbers(conversation) == [*SIX, 6]
    assert await scene.redis.client.call("EXISTS", scene.redis.keys.user(ALICE).pending) == 0
    await goes_on(scene, conversation, number=7)


async def test_what_a_pending_list_still_names_is_stored_before_it_is_taken_off(scene: Stage) -> None:
    """Also where the log is not walked: one conversation, judged and mended alone, with no list to help."""
    conversation = await settled(scene)
    await scene.append(conversation, "lost")
    await swallow(scene, settle=False)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    parts = parts_of(scene)
    judged = await parts.conversations.judge(ALICE, conversation)
    assert [finding.kind for finding in judged.found] == [Kind.PENDING_ORPHAN]
    assert await parts.mender.mend(judged) == []
    assert await scene.pool.fetchval("SELECT count(*) FROM messages") == 7
    await is_clean(scene)


async def test_a_whole_conversation_that_was_lost_is_stored(scene: Stage) -> None:
    """Its creation, too; also where only the header and the list still tell of it."""
    conversation = await scene.conversation(messages=3)
    await swallow(scene, settle=True)
    await scene.redis.client.call("DEL", scene.redis.keys.events(scene.redis.keys.partition(ALICE)))
    await mends(scene, Kind.HEADER_ORPHAN, Kind.LIST_ORPHAN)
    assert await scene.numbers(conversation) == [0, 1, 2]
    assert await scene.pool.fetchval("SELECT count(*) FROM messages") == 3
    await goes_on(scene, conversation, number=3)


async def test_a_delete_that_was_lost_is_final(scene: Stage) -> None:
    """The record never heard of it; what Redis still knows is taken for what happened."""
    conversation = await settled(scene)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    await swallow(scene, settle=True)
    await scene.redis.client.call("DEL", scene.redis.keys.events(scene.redis.keys.partition(ALICE)))
    await verify(parts_of(scene), repair=True)
    await is_clean(scene)
    await scene.drop_caches()
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)


async def test_a_header_that_missed_a_delete_follows_the_record(scene: Stage) -> None:
    """Deleted in PostgreSQL and alive in Redis, with its list: nothing is served after."""
    conversation = await settled(scene)
    await scene.pool.execute(
        "UPDATE conversations SET deleted_at = now(), epoch = 2, version = 20, message_count = 0"
    )
    found = await verify(parts_of(scene))
    assert kinds(found) >= {
        *(
            Kind.HEADER_DELETED,
            Kind.LIST_ORPHAN,
            Kind.RECORD_BURIED,
            Kind.RECORD_REMAINS,
            Kind.USER_LIST_EXTRA,
        ),
    }
    assert (await verify(parts_of(scene), repair=True)).left == 0
    await is_clean(scene)
    assert await scene.pool.fetchval("SELECT count(*) FROM messages") == 0
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)


async def test_a_list_of_nothing_goes(scene: Stage) -> None:
    """A cached list of a conversation that neither store has is met on the walk through Redis."""
    keys = scene.redis.keys.conversation(ALICE, new_conversation_id())
    await scene.redis.client.call("RPUSH", keys.messages, b'{"sequence_number":0,"id":"x"}')
    await mends(scene, Kind.LIST_ORPHAN)
    assert await scene.redis.client.call("EXISTS", keys.messages) == 0


async def test_numbers_that_redis_gave_are_never_given_again(scene: Stage) -> None:
    """A counter ahead of the record is not lowered: the record's is raised. The gap is said, and no less
    than an order writes it off."""
    conversation = await settled(scene)
    header = scene.redis.keys.conversation(ALICE, conversation).header
    await scene.redis.client.call("HSET", header, "next", 9)
    assert kinds(await verify(parts_of(scene))) == {Kind.HEADER_NEXT_AHEAD}
    found = await verify(parts_of(scene), repair=True)
    assert (found.left, found.found[Kind.RECORD_GAP]) == (3, 3)
    assert kinds(await verify(parts_of(scene))) == {Kind.RECORD_GAP}
    accepted = await verify(parts_of(scene, accept_loss=True), repair=True)
    assert (accepted.found[Kind.RECORD_GAP], accepted.left) == (3, 0)
    await is_clean(scene)
    await scene.drop_caches()
    await goes_on(scene, conversation, number=9)


async def test_a_row_that_was_lost_comes_back_from_the_log_or_from_the_cache(scene: Stage) -> None:
    """From the log while it is there; else from the cached list, under the id and number Redis gave it."""
    conversation = await settled(scene)
    for kept in (True, False):
        if not kept:
            await scene.redis.client.call("DEL", scene.redis.keys.events(scene.redis.keys.partition(ALICE)))
        await scene.pool.execute("DELETE FROM messages WHERE sequence_number = 3")
        found = await verify(parts_of(scene))
        assert kinds(found) >= {Kind.RECORD_GAP, Kind.RECORD_COUNT, Kind.LIST_EXTRA}
        assert (Kind.LOG_LOST in kinds(found)) == kept
        assert (await verify(parts_of(scene), repair=True)).left == 0
        await is_clean(scene)
        assert await scene.pool.fetchval("SELECT count(*) FROM messages") == 6
    await goes_on(scene, conversation, number=6)


async def test_what_a_consumer_that_is_gone_holds_is_settled_if_it_is_stored(settings: Settings) -> None:
    """It died between its commit and its acknowledgement, and nobody is there to claim. What is not stored
    waits for a persister, and is no drift."""
    quick = settings.model_copy(update={"persister": PersisterSettings(claim_min_idle_seconds=0.0001)})
    async with stage(quick) as scene:
        conversation = await settled(scene)
        await scene.append(conversation, "held and not stored")
        await read_all(scene)
        await is_clean(scene)
        partition = scene.redis.keys.partition(ALICE)
        await persist_held(scene)
        await mends(scene, Kind.LOG_UNACKNOWLEDGED)
        assert (await scene.redis.group.lag(partition)).pending == 0
        await goes_on(scene, conversation, number=7)


async def persist_held(scene: Stage) -> None:
    """Write the whole log, as a persister that dies before it settles."""
    events = enumerate(await scene.redis.events())
    recorded = [Recorded(0, Position(f"{NOW}-{i}"), decode(fields)) for i, fields in events]
    await BatchWriter(scene.pool).write(recorded)


async def test_a_header_that_was_lost_while_events_wait_is_loaded_again(scene: Stage) -> None:
    """Also one that would expire, or whose user's set does not name it."""
    conversation = await settled(scene)
    await scene.append(conversation, "pending")
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.redis.client.call("DEL", keys.header)
    found = await verify(parts_of(scene))
    assert Kind.HEADER_MISSING in kinds(found)
    assert (await verify(parts_of(scene), repair=True)).left == 0
    await scene.redis.client.call("PEXPIRE", keys.header, 60_000)
    await scene.redis.client.call("DEL", keys.user_pending)
    found = await verify(parts_of(scene))
    assert kinds(found) >= {Kind.HEADER_EXPIRES, Kind.PENDING_UNLISTED}
    assert (await verify(parts_of(scene), repair=True)).left == 0
    await is_clean(scene)
    assert await scene.redis.client.call("PTTL", keys.header) == -1
    await goes_on(scene, conversation, number=7)


async def test_a_counter_is_right_although_events_are_pending(scene: Stage) -> None:
    """A header is set to the record with what is pending laid over it; nothing pending is lost."""
    conversation = await settled(scene)
    await scene.append(conversation, "pending")
    header = scene.redis.keys.conversation(ALICE, conversation).header
    await scene.redis.client.call("HSET", header, "next", 3, "count", 2, "title", '"Another"')
    kinds_ = Kind.HEADER_NEXT_BEHIND, Kind.HEADER_COUNT, Kind.HEADER_TITLE
    await mends(scene, *kinds_, Kind.USER_LIST_SUMMARY)
    found = await scene.parts.history.header(ALICE, conversation)
    assert (found.next_sequence_number, found.message_count, found.state) == (7, 7, STATE)
    await goes_on(scene, conversation, number=7)


async def test_a_parked_event_is_not_lost(scene: Stage) -> None:
    """It lies among the dead letters with its number; the record's counters learn of the number."""
    conversation = await parked_then_settled(scene)
    await is_clean(scene)
    assert await scene.numbers(conversation) == SIX
    await scene.drop_caches()
    await goes_on(scene, conversation, number=7)


async def parked_then_settled(scene: Stage) -> ConversationId:
    """A conversation whose newest message is among the dead letters, and nothing is pending."""
    conversation = await settled(scene)
    await scene.append(conversation, "poison")
    [entry] = await read_all(scene)
    event = decode(entry.fields)
    assert isinstance(event, MessagesAppended)
    await BatchWriter(scene.pool).reserve(event)
    refusal = Refusal("a test's poison", "Poison", None, "test")
    await scene.redis.group.park(entry, refusal, ALICE, conversation, amends=1)
    return conversation


async def test_a_letter_that_was_dropped_is_not_stored_by_a_repair_or_a_replay(scene: Stage) -> None:
    """Its entry is on the log for a while yet; what is left of it is the gap, which somebody chose."""
    conversation = await parked_then_settled(scene)
    letters = DeadLetters(scene.redis.functions, scene.redis.keys)
    [letter] = [letter async for letter in Selection().of(letters)]
    assert await letters.drop(letter)
    assert not await letters.drop(letter)
    assert Kind.LOG_LOST not in kinds(await verify(parts_of(scene), repair=True))
    log = LogSource(scene.redis.client, scene.redis.keys, ReplaySelection())
    read = [item.position async for page in log.pages(None) for item in page.items]
    assert len(read) > 0
    assert letter.original not in read
    assert await scene.numbers(conversation) == SIX
    partition = scene.redis.keys.partition(ALICE)
    await scene.redis.client.call("XTRIM", scene.redis.keys.events(partition), "MAXLEN", 0)
    await scene.redis.group.trim(partition, keep_from_ms=0)
    assert await scene.redis.client.call("EXISTS", scene.redis.keys.void(partition)) == 0


async def test_a_letter_that_was_requeued_is_not_lost_where_it_was_first(scene: Stage) -> None:
    """It stands at its new place, and waits there; a second refusal and a drop are of that one."""
    await parked_then_settled(scene)
    letters = DeadLetters(scene.redis.functions, scene.redis.keys)
    [letter] = [letter async for letter in Selection().of(letters)]
    await letters.requeue(letter)
    assert Kind.LOG_LOST not in kinds(await verify(parts_of(scene)))


async def test_a_deletion_that_was_dropped_never_happened(scene: Stage) -> None:
    """Not even in Redis, where its tombstone would have stayed; no repair makes it happen."""
    conversation = await settled(scene)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    [entry] = await read_all(scene)
    refusal = Refusal("a test's poison", "Poison", None, "test")
    await scene.redis.group.park(entry, refusal, ALICE, conversation, amends="deleted")
    letters = DeadLetters(scene.redis.functions, scene.redis.keys)
    [letter] = [letter async for letter in Selection().of(letters)]
    assert await letters.drop(letter)
    assert await scene.numbers(conversation) == SIX
    assert Kind.LOG_LOST not in kinds(await verify(parts_of(scene), repair=True))
    assert await scene.numbers(conversation) == SIX


async def test_what_is_only_in_redis_and_waits_is_no_drift(scene: Stage) -> None:
    """New conversations, renamed ones, deleted ones, all of it pending; cold ones; a list that outlived its
    header."""
    old, gone, cold = [await settled(scene) for _ in range(3)]
    await scene.conversation(messages=3)
    await scene.parts.publisher.update(ALICE, old, at_ms=NOW + 1, title="Renamed")
    await scene.parts.publisher.delete(ALICE, gone, at_ms=NOW + 2)
    await scene.drop(scene.redis.keys.conversation(ALICE, cold).header)
    await is_clean(scene)
    await persist(scene)
    await is_clean(scene)
    await scene.drop_caches()
    await is_clean(scene)

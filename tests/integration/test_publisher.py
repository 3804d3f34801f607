"""Changes to conversations that Redis has let go of, and answers that must not depend on where they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from common.domain.errors import (
    ConversationDeleted,
    ConversationNotFound,
    IdempotencyKeyConflict,
    LogUnavailable,
    MessageIdConflict,
)
from common.domain.ids import UserId, new_conversation_id
from common.domain.messages import new_message, numbered, parse_body
from common.domain.paging import Window
from common.domain.publishing import Idempotency
from common.redis.client import Argument
from common.redis.group import Refusal
from common.redis.log import EventLog
from common.settings import Settings
from tests.keeping import with_redis
from tests.persisting import go_cold, persist
from tests.redis_parts import ALICE, NOW, STATE, message
from tests.stage import Scene, Stage, scene_of, second_process


@pytest.fixture
async def scene(kept: Settings) -> AsyncIterator[Scene]:
    async with scene_of(kept) as made:
        yield made


async def test_an_append_to_a_cold_conversation_goes_on_with_its_numbers(scene: Scene) -> None:
    """The header is loaded from PostgreSQL, and the list with it."""
    conversation = await scene.conversation(messages=3)
    await go_cold(scene)

    await scene.append(conversation, "after a rest")

    assert await scene.numbers(conversation) == [0, 1, 2, 3]


async def test_concurrent_appends_to_a_cold_conversation_are_all_numbered_once(scene: Scene) -> None:
    """From two processes; whoever loads it, nobody's number is given twice."""
    conversation = await scene.conversation(messages=3)
    await go_cold(scene)
    async with second_process(scene) as other:
        results = await asyncio.gather(
            *(
                parts.publisher.append(ALICE, conversation, [message(str(i))], at_ms=NOW)
                for i in range(20)
                for parts in (scene.parts, other)
            )
        )
    given = sorted(numbered(m).sequence_number for result in results for m in result.messages)
    assert given == list(range(3, 43))
    assert await scene.numbers(conversation) == list(range(43))


async def test_a_message_id_is_known_after_redis_forgot_it(scene: Scene) -> None:
    """PostgreSQL is asked: the first answer again, its time of arrival too."""
    conversation = await scene.conversation()
    sent = {"id": "m-1", "content": "once", "big": 2**80}
    first = await scene.parts.publisher.append(ALICE, conversation, [new_message(sent, at_ms=NOW)], at_ms=NOW)
    await go_cold(scene)

    again = await scene.parts.publisher.append(
        ALICE, conversation, [new_message(sent, at_ms=NOW + 60_000)], at_ms=NOW + 60_000
    )

    assert again.replayed
    assert again.messages == first.messages
    assert await scene.numbers(conversation) == [0]
    with pytest.raises(MessageIdConflict):
        await scene.parts.publisher.append(
            *(ALICE, conversation, [new_message({"id": "m-1", "content": "other"}, at_ms=NOW)]), at_ms=NOW
        )


async def test_a_repeated_append_is_answered_as_it_was_stored(scene: Scene) -> None:
    """Hot: the message that stands there, not the one that came again with a later time."""
    conversation = await scene.conversation()
    first = await scene.parts.publisher.append(
        ALICE, conversation, [new_message({"id": "m-1", "content": "once"}, at_ms=NOW)], at_ms=NOW
    )
    again = await scene.parts.publisher.append(
        ALICE, conversation, [new_message({"id": "m-1", "content": "once"}, at_ms=NOW + 5)], at_ms=NOW + 5
    )
    assert (again.messages, again.position, again.replayed) == (first.messages, first.position, True)


@pytest.mark.parametrize("cold", [False, True])
async def test_a_message_id_with_another_body_is_refused(scene: Scene, cold: bool) -> None:
    """Never silently kept, never silently dropped; the whole batch is refused."""
    conversation = await scene.conversation()
    publisher = scene.parts.publisher
    await publisher.append(ALICE, conversation, [message("a", id="m-1")], at_ms=NOW)
    if cold:
        await go_cold(scene)

    with pytest.raises(MessageIdConflict, match="m-1"):
        await publisher.append(ALICE, conversation, [message("new"), message("other", id="m-1")], at_ms=NOW)

    assert await scene.numbers(conversation) == [0]


@with_redis
async def test_an_id_of_a_pending_message_is_known_after_its_header_was_lost(scene: Stage) -> None:
    """The same message is answered as before, its position too; another body is refused."""
    conversation = await scene.conversation(messages=1)
    sent = message("first body", id="m-1")
    first = await scene.parts.publisher.append(ALICE, conversation, [sent], at_ms=NOW)
    await scene.drop(scene.redis.keys.conversation(ALICE, conversation).header)

    again = await scene.parts.publisher.append(ALICE, conversation, [sent], at_ms=NOW)

    assert (again.messages, again.position) == (first.messages, first.position)
    with pytest.raises(MessageIdConflict):
        await scene.parts.publisher.append(ALICE, conversation, [message("other", id="m-1")], at_ms=NOW)


@pytest.mark.parametrize("cold", [False, True])
async def test_what_was_read_back_can_be_sent_again(scene: Scene, cold: bool) -> None:
    """The same message, though it now names the id and the time that were assigned to it."""
    conversation = await scene.conversation(messages=3)
    stored = await scene.parts.history.recent(ALICE, conversation, 10)
    if cold:
        await go_cold(scene)

    sent = [new_message(parse_body(m), at_ms=NOW + 60_000) for m in stored]
    again = await scene.parts.publisher.append(ALICE, conversation, sent, at_ms=NOW + 60_000)

    assert again.replayed
    assert again.messages == stored


async def test_a_batch_that_repeats_messages_far_apart_is_answered_with_all_of_them(scene: Scene) -> None:
    """Old ones as they are stored, each found by its number; the new one behind all that is there."""
    conversation = await scene.conversation(messages=120)
    window = scene.parts.history.window
    first = await window(ALICE, conversation, Window(1, before=1))
    middle = await window(ALICE, conversation, Window(1, after=59, before=61))
    await persist(scene)
    again = [new_message(parse_body(m), at_ms=NOW + 1) for m in (*first, *middle)]

    appended = await scene.parts.publisher.append(ALICE, conversation, [*again, message("new")], at_ms=NOW)

    assert [numbered(m).sequence_number for m in appended.messages] == [0, 60, 120]
    assert appended.messages[:2] == [*first, *middle]
    assert (appended.known, appended.replayed) == (2, False)


@with_redis
@pytest.mark.parametrize("evicted", [False, True])
async def test_an_append_whose_reply_was_lost_is_there_once(scene: Stage, evicted: bool) -> None:
    """It is repeated, and known by its id: in Redis, or in PostgreSQL where Redis forgot it meanwhile.

    (A commit whose answer was lost: tests/races/test_direct_races.py.)
    """
    conversation = await scene.conversation(messages=2)
    await _lose_next_reply(scene, then=(lambda: go_cold(scene)) if evicted else None)

    appended = await scene.parts.publisher.append(ALICE, conversation, [message("once")], at_ms=NOW)

    assert [numbered(m).sequence_number for m in appended.messages] == [2]
    assert await scene.numbers(conversation) == [0, 1, 2]


@with_redis
@pytest.mark.parametrize("evicted", [False, True])
async def test_a_conversation_whose_creating_reply_was_lost_is_there_once(
    scene: Stage, evicted: bool
) -> None:
    """Its fresh id is fresh no more when the call is repeated."""
    await _lose_next_reply(scene, then=(lambda: go_cold(scene)) if evicted else None)

    appended = await scene.parts.publisher.append_to_new(ALICE, None, STATE, [message("once")], at_ms=NOW)

    assert await scene.numbers(appended.conversation_id) == [0]
    assert len(await scene.redis.events()) == 2


async def test_an_idempotency_key_outlives_the_conversation_s_time_in_redis(scene: Scene) -> None:
    """The key is kept for a day, the header for half an hour."""
    conversation = await scene.conversation()
    key = Idempotency("key", "digest")
    first = await scene.parts.publisher.append(
        ALICE, conversation, [message("a")], at_ms=NOW, idempotency=key
    )
    await persist(scene)
    if isinstance(scene, Stage):
        await scene.drop(scene.redis.keys.conversation(ALICE, conversation).header)
        await scene.drop(scene.redis.keys.messages(ALICE, conversation))

    again = await scene.parts.publisher.append(
        ALICE, conversation, [message("a")], at_ms=NOW, idempotency=key
    )

    assert again.messages == first.messages
    assert again.replayed


async def test_an_idempotency_key_is_for_one_request_only(scene: Scene) -> None:
    """Creates and appends share one space of keys: whichever was first, the other is refused."""
    publisher = scene.parts.publisher
    first, again, other = Idempotency("key", "a"), Idempotency("key", "a"), Idempotency("key", "b")
    conversation = new_conversation_id()
    await publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation, idempotency=first)

    _, replayed = await publisher.create(
        ALICE, STATE, at_ms=NOW, conversation_id=conversation, idempotency=again
    )
    assert replayed
    with pytest.raises(IdempotencyKeyConflict):
        await publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation, idempotency=other)
    with pytest.raises(IdempotencyKeyConflict):
        await publisher.append(ALICE, conversation, [message()], at_ms=NOW, idempotency=other)
    with pytest.raises(IdempotencyKeyConflict):
        await publisher.append_to_new(
            ALICE, new_conversation_id(), STATE, [message()], at_ms=NOW, idempotency=other
        )
    assert await scene.numbers(conversation) == []


async def test_a_client_s_conversation_id_makes_create_idempotent(scene: Scene) -> None:
    """Hot, cold, and from many at once: one conversation, one event."""
    conversation = new_conversation_id()
    create = scene.parts.publisher.create

    answers = await asyncio.gather(
        *(create(ALICE, STATE, at_ms=NOW, conversation_id=conversation) for _ in range(20))
    )
    await go_cold(scene)
    header, replayed = await create(ALICE, STATE, at_ms=NOW + 5, conversation_id=conversation)

    assert [was_there for _, was_there in answers].count(False) == 1
    assert replayed
    assert header == answers[0][0]
    assert header.version == 1, "the version counts events"


async def test_a_deleted_conversation_s_id_cannot_be_used_again(scene: Scene) -> None:
    """Redis has forgotten it; PostgreSQL has its gravestone."""
    conversation = await scene.conversation(messages=2)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    await go_cold(scene)

    with pytest.raises(ConversationDeleted):
        await scene.parts.publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation)
    with pytest.raises(ConversationNotFound):
        await scene.append(conversation, "late")
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)
    with pytest.raises(ConversationNotFound):
        await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)


@pytest.mark.parametrize("cold", [False, True])
async def test_another_user_s_conversation_is_not_there(scene: Scene, cold: bool) -> None:
    """Reads, appends, changes and deletes answer as for an id that nobody has."""
    conversation = await scene.conversation(messages=2)
    if cold:
        await go_cold(scene)
    mallory = UserId("mallory@example.com")
    publisher, history = scene.parts.publisher, scene.parts.history
    for attempt in (
        history.recent(mallory, conversation, 20),
        history.window(mallory, conversation, Window(20, after=0)),
        history.page(mallory, conversation, page=1, page_size=20),
        history.header(mallory, conversation),
        publisher.append(mallory, conversation, [message()], at_ms=NOW),
        publisher.update(mallory, conversation, at_ms=NOW, title="mine"),
        publisher.delete(mallory, conversation, at_ms=NOW),
    ):
        with pytest.raises(ConversationNotFound):
            await attempt
    assert (await scene.parts.listing.after_cursor(mallory, limit=10)).items == []
    assert await scene.numbers(conversation) == [0, 1]


async def test_a_change_of_a_cold_conversation_is_seen_everywhere(scene: Scene) -> None:
    """Title, model and metadata; what is not named stays."""
    conversation = await scene.conversation(messages=1)
    await go_cold(scene)

    header = await scene.parts.publisher.update(
        ALICE, conversation, at_ms=NOW + 1, title="New", metadata=b'{"tag":[]}'
    )

    assert (header.state.title, header.state.model, header.state.metadata) == ("New", None, b'{"tag":[]}')
    await go_cold(scene)
    assert await scene.parts.history.header(ALICE, conversation) == header
    (row,) = (await scene.parts.listing.after_cursor(ALICE, limit=10)).items
    assert parse_body(row)["title"] == "New"


@with_redis
async def test_waiting_for_postgresql_ends_when_it_has_the_message(scene: Stage) -> None:
    """`ack=persisted`: false while it is pending, true once it is not."""
    conversation = await scene.conversation()
    appended = await scene.parts.publisher.append(ALICE, conversation, [message()], at_ms=NOW)
    wait = scene.parts.publisher.wait_persisted

    assert not await wait(ALICE, appended, within=0.02)
    await persist(scene)
    assert await wait(ALICE, appended, within=0.5)


@with_redis
async def test_waiting_does_not_take_a_parked_message_for_a_persisted_one(scene: Stage) -> None:
    """It is pending no more, and PostgreSQL does not have it."""
    conversation = await scene.conversation()
    await persist(scene)
    appended = await scene.parts.publisher.append(ALICE, conversation, [message()], at_ms=NOW)
    group, partition = scene.redis.group, scene.redis.keys.partition(ALICE)
    (entry,) = await group.read_new(scene.redis.client, partition, "test", count=9, block_ms=1)
    await group.park(entry, Refusal("an error", "Error", None, "test"), ALICE, conversation)

    assert not await scene.parts.publisher.wait_persisted(ALICE, appended, within=0.5)


@with_redis
async def test_waiting_for_a_repeated_batch_waits_for_all_of_it(scene: Stage) -> None:
    """Another persister was quicker with the second of two appends: the first still waits."""
    conversation = await scene.conversation()
    await persist(scene)
    batch = [message("a", id="a"), message("b", id="b")]
    publisher = scene.parts.publisher
    for sent in batch:
        await publisher.append(ALICE, conversation, [sent], at_ms=NOW)
    pending = scene.redis.keys.conversation(ALICE, conversation).pending
    await scene.redis.client.call("RPOP", pending)

    again = await publisher.append(ALICE, conversation, batch, at_ms=NOW)

    assert again.replayed
    assert not await publisher.wait_persisted(ALICE, again, within=0.02)


@with_redis
async def test_what_only_redis_lost_is_rebuilt_from_pending_events(scene: Stage) -> None:
    """Somebody deleted a header that never expires: its numbers are not given again."""
    conversation = await scene.conversation(messages=3)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.redis.client.call("DEL", keys.header, keys.messages)

    await scene.append(conversation, "goes on")

    assert await scene.numbers(conversation) == [0, 1, 2, 3]


@with_redis
async def test_a_lost_reply_is_not_asked_for_again_where_the_log_is_out_of_reach(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has found that out already answers at once: the record takes over when nothing is under way."""
    conversation = await scene.conversation()
    monkeypatch.setattr(EventLog, "worth_repeating", False)
    await _lose_next_reply(scene, then=None)
    with pytest.raises(LogUnavailable) as lost:
        await scene.append(conversation, "a")
    assert lost.value.outcome_unknown


async def _lose_next_reply(scene: Stage, *, then: Callable[[], Awaitable[None]] | None) -> None:
    """Carry the next append out, and cut the connection before its reply; `then` something happens.

    A stand-in for the cut, because only here the moment is certain.
    """
    call = scene.redis.functions.call

    async def cut(name: str, keys: list[str] | tuple[str, ...], *arguments: Argument) -> Any:
        reply = await call(name, keys, *arguments)
        if name != "append":
            return reply
        scene.redis.functions.call = call
        if then is not None:
            await then()
        raise LogUnavailable("cut", outcome_unknown=True)

    scene.redis.functions.call = cut

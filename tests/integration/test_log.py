"""What the log's functions promise, one behaviour a test, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.contract.stream import decode
from common.domain.errors import (
    ConversationDeleted,
    IdempotencyKeyConflict,
    LogUnavailable,
)
from common.domain.events import ConversationDeleted as DeletedEvent
from common.domain.events import MessagesAppended
from common.domain.ids import UserId, new_conversation_id
from common.domain.messages import numbered, parse_body
from common.domain.publishing import Idempotency
from common.redis.calls import Cold, Gone
from common.redis.log import FRESH, IDS_ARE_FRESH, Checked, CheckIds, Creation, Taken
from tests.redis_parts import ALICE, NOW, STATE, RedisParts, message, redis_parts


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisParts]:
    async with redis_parts(redis_url, session_max_messages=5) as parts:
        yield parts


async def test_messages_are_numbered_from_zero_without_gaps(redis: RedisParts) -> None:
    """The reply, the event and the cached list agree on the numbers."""
    conversation = await redis.conversation()

    one = await redis.log.append(ALICE, conversation, [message("a")], at_ms=NOW)
    two = await redis.log.append(ALICE, conversation, [message("b"), message("c")], at_ms=NOW)

    assert one.sequence_numbers == [0]
    assert two.sequence_numbers == [1, 2]
    event = decode((await redis.events())[-1])
    assert isinstance(event, MessagesAppended)
    assert [m.sequence_number for m in event.numbered] == [1, 2]
    cached = await redis.cache.tail(ALICE, conversation, 10)
    assert [numbered(m).sequence_number for m in cached] == [0, 1, 2]
    assert [parse_body(m)["content"] for m in cached] == ["a", "b", "c"]


async def test_a_batch_is_one_event(redis: RedisParts) -> None:
    """All of a batch stands at one position: readers see all of it or none."""
    conversation = await redis.conversation()
    batch = [message(str(i)) for i in range(1000)]

    receipt = await redis.log.append(ALICE, conversation, batch, at_ms=NOW)

    assert receipt.sequence_numbers == list(range(1000))
    assert len(await redis.events()) == 2


async def test_a_message_id_that_comes_again_is_answered_as_before(redis: RedisParts) -> None:
    """Deduplication by message id: nothing new on the log, the first numbers and position again."""
    conversation = await redis.conversation()
    sent = message("a", id="m-1")
    first = await redis.log.append(ALICE, conversation, [sent], at_ms=NOW)

    again = await redis.log.append(ALICE, conversation, [sent], at_ms=NOW + 5)

    assert again.sequence_numbers == first.sequence_numbers
    assert again.position == first.position
    assert again.known == 1
    assert len(await redis.events()) == 2


async def test_a_batch_that_is_partly_known_appends_the_rest(redis: RedisParts) -> None:
    """Known messages keep their numbers; new ones are numbered after all that is there."""
    conversation = await redis.conversation()
    known = message("a", id="m-1")
    await redis.log.append(ALICE, conversation, [known, message("b")], at_ms=NOW)

    receipt = await redis.log.append(ALICE, conversation, [known, message("c")], at_ms=NOW)

    assert receipt.sequence_numbers == [0, 2]
    assert receipt.known == 1


async def test_a_message_id_with_another_digest_is_to_be_compared(redis: RedisParts) -> None:
    """Nothing is appended; the number says with what to compare, and given back, that it is the same."""
    conversation = await redis.conversation()
    await redis.log.append(ALICE, conversation, [message("a", id="m-1")], at_ms=NOW)
    batch = [message("new"), message("other", id="m-1")]

    with pytest.raises(Taken) as taken:
        await redis.log.append(ALICE, conversation, batch, at_ms=NOW)
    assert taken.value.numbers == {1: 0}
    assert len(await redis.events()) == 2

    receipt = await redis.log.append(ALICE, conversation, batch, at_ms=NOW, checked=Checked(0, {"m-1": 0}))
    assert receipt.sequence_numbers == [1, 0]


async def test_an_idempotency_key_gives_the_first_answer_again(redis: RedisParts) -> None:
    """Whatever ids the repeated request carries, and only for the same request."""
    conversation = await redis.conversation()
    key = Idempotency("key-1", "digest-1")
    first = await redis.log.append(ALICE, conversation, [message("a")], at_ms=NOW, idempotency=key)

    again = await redis.log.append(ALICE, conversation, [message("a")], at_ms=NOW, idempotency=key)

    assert (again.sequence_numbers, again.position) == (first.sequence_numbers, first.position)
    assert again.known == 1
    with pytest.raises(IdempotencyKeyConflict):
        await redis.log.append(
            *(ALICE, conversation, [message("b")]),
            at_ms=NOW,
            idempotency=Idempotency("key-1", "digest-2"),
        )


async def test_an_append_needs_the_conversation_in_redis(redis: RedisParts) -> None:
    """Cold is no answer about existence: the caller loads it from PostgreSQL and calls again."""
    with pytest.raises(Cold):
        await redis.log.append(ALICE, new_conversation_id(), [message()], at_ms=NOW)
    assert await redis.events() == []


async def test_one_call_creates_a_conversation_and_appends_to_it(redis: RedisParts) -> None:
    """Two events, one atomic step."""
    conversation = new_conversation_id()

    receipt = await redis.log.append(
        *(ALICE, conversation, [message("a")]), at_ms=NOW, create=Creation(FRESH, STATE)
    )

    assert receipt.sequence_numbers == [0]
    assert [e[b"type"] for e in await redis.events()] == [b"conversation.created", b"messages.appended"]
    header = await redis.cache.header(ALICE, conversation)
    assert header is not None
    assert (header.message_count, header.version, header.preview) == (1, 2, "a")


async def test_nothing_can_be_done_to_a_deleted_conversation(redis: RedisParts) -> None:
    """Delete is final, and its lists are gone with it."""
    conversation = await redis.conversation()
    await redis.log.append(ALICE, conversation, [message()], at_ms=NOW)

    await redis.log.delete(ALICE, conversation, at_ms=NOW)

    with pytest.raises(Gone):
        await redis.log.append(ALICE, conversation, [message()], at_ms=NOW)
    with pytest.raises(Gone):
        await redis.log.delete(ALICE, conversation, at_ms=NOW)
    with pytest.raises(Gone):
        await redis.log.update(ALICE, conversation, title=b'"x"', model=b"", metadata=b"", at_ms=NOW)
    with pytest.raises(ConversationDeleted):
        await redis.log.create(ALICE, conversation, Creation(FRESH, STATE), at_ms=NOW)
    assert await redis.cache.tail(ALICE, conversation, 10) == []
    assert isinstance(decode((await redis.events())[-1]), DeletedEvent)


async def test_the_same_conversation_id_of_two_users_is_two_conversations(redis: RedisParts) -> None:
    """Even in one partition: the owner is part of the address."""
    conversation = new_conversation_id()
    names = (UserId(f"user-{i}") for i in range(1000))
    bob = next(name for name in names if redis.keys.partition(name) == redis.keys.partition(ALICE))
    for user, text in ((ALICE, "alice's"), (bob, "bob's")):
        await redis.log.create(user, conversation, Creation(FRESH, STATE), at_ms=NOW)
        await redis.log.append(user, conversation, [message(text)], at_ms=NOW)

    await redis.log.delete(ALICE, conversation, at_ms=NOW)

    (left,) = await redis.cache.tail(bob, conversation, 10)
    assert parse_body(left)["content"] == "bob's"


@pytest.mark.parametrize("user", ["a:b", "a:idem:x", "{1}", "a}b{c", "Ünïcode ☃", "a b\n", "%3A"])
async def test_any_user_id_is_safe_in_a_key(redis: RedisParts, user: str) -> None:
    """No user id can reach outside its own keys or its own partition."""
    names = redis.keys.conversation(UserId(user), new_conversation_id())
    tag = f"{{{redis.keys.partition(UserId(user))}}}"
    for name in names:
        prefix, partition, rest = name.split(":", 2)
        assert (prefix, partition) == ("chat", tag)
        assert not set(rest) & set("{}\n ")
    assert len(names.header.split(":")) == 4


async def test_nothing_expires_while_it_is_pending(redis: RedisParts) -> None:
    """A header gets its TTL when the persister has settled the last event, and loses it on the next."""
    conversation = await redis.conversation()
    key = redis.keys.conversation(ALICE, conversation).header
    assert await redis.client.call("PTTL", key) == -1

    await redis.persist_all()
    assert await redis.client.call("PTTL", key) > 0
    assert await redis.client.call("EXISTS", redis.keys.conversation(ALICE, conversation).pending) == 0

    await redis.log.append(ALICE, conversation, [message()], at_ms=NOW)
    assert await redis.client.call("PTTL", key) == -1


async def test_every_cache_key_has_a_ttl_once_all_is_persisted(redis: RedisParts) -> None:
    """Only the log and its own facts stay for ever."""
    conversation = await redis.conversation()
    await redis.log.append(ALICE, conversation, [message()], at_ms=NOW)
    begun = await redis.cache.list_begin(ALICE, lease_ms=1000)
    assert await redis.cache.list_install(ALICE, begun.token, begun.pending.headers, floor=0)

    await redis.persist_all()

    lasting = [k for k in await redis.everywhere("KEYS", "*") if await redis.client.call("PTTL", k) == -1]
    partition = redis.keys.partition(ALICE)
    of_the_log = (redis.keys.events(partition), redis.keys.log(partition), redis.keys.volume(partition))
    assert set(lasting) == {name.encode() for name in of_the_log}


async def test_a_cached_list_is_cut_to_its_length(redis: RedisParts) -> None:
    """The newest stay, in order."""
    conversation = await redis.conversation()
    for i in range(12):
        await redis.log.append(ALICE, conversation, [message(str(i))], at_ms=NOW)

    cached = await redis.cache.tail(ALICE, conversation, 100)

    assert [numbered(m).sequence_number for m in cached] == [7, 8, 9, 10, 11]


async def test_ids_that_redis_let_go_of_are_looked_up_in_postgresql(
    redis: RedisParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header keeps a bounded number of ids; below that, an append must ask, and says what it found."""
    monkeypatch.setattr("common.redis.group.MAX_IDS_KEPT", 14)
    conversation = await redis.conversation()
    sent = [message(str(i), id=f"m-{i}") for i in range(4)]
    await redis.log.append(ALICE, conversation, sent, at_ms=NOW)
    await redis.persist_all()

    with pytest.raises(CheckIds) as wanted:
        await redis.log.append(ALICE, conversation, sent[:1], at_ms=NOW)
    receipt = await redis.log.append(
        ALICE, conversation, sent[:1], at_ms=NOW, checked=Checked(wanted.value.below, {"m-0": 0})
    )
    fresh = await redis.log.append(
        ALICE, conversation, [message("fresh id")], at_ms=NOW, checked=IDS_ARE_FRESH
    )

    assert wanted.value.below == 4
    assert (receipt.sequence_numbers, receipt.known) == ([0], 1)
    assert fresh.sequence_numbers == [4], "an id that was made just now needs no look-up"


async def test_full_memory_refuses_an_append_before_acknowledging(redis: RedisParts) -> None:
    """And says when to come back; reads and settling go on."""
    conversation = await redis.conversation()
    await redis.log.append(ALICE, conversation, [message("kept")], at_ms=NOW)
    await redis.everywhere("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(LogUnavailable, match="refuses writes") as refused:
            await redis.log.append(ALICE, conversation, [message("lost?")], at_ms=NOW)
        assert refused.value.retry_after > 0
        assert not refused.value.outcome_unknown
        assert len(await redis.cache.tail(ALICE, conversation, 10)) == 1
        assert len(await redis.persist_all()) == 2
    finally:
        await redis.everywhere("CONFIG", "SET", "maxmemory", "0")
    assert len(await redis.events()) == 2


async def test_a_lost_function_library_is_loaded_again(redis: RedisParts) -> None:
    """A Redis that lost its data, or was replaced, has no functions: the call that finds out loads them."""
    conversation = await redis.conversation()
    await redis.everywhere("FUNCTION", "FLUSH")
    receipt = await redis.log.append(ALICE, conversation, [message()], at_ms=NOW)
    assert receipt.sequence_numbers == [0]

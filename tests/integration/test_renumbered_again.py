"""A message that got another number, and a Redis that comes back from before it knew: the record is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic_core import from_json

from common.domain.ids import ConversationId
from common.domain.messages import new_message, numbered
from common.domain.paging import Window
from common.domain.publishing import Idempotency
from common.redis.group import Entry
from common.settings import Settings
from tests.persisters import running_persister
from tests.redis_parts import ALICE, NOW
from tests.rolled_back import OwnRedis, Process, own_redis, persevering, process, using

# One that has to move goes to the end.
TEXTS = ["a", "b", "lost from the log", "d", "c"]


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


@pytest.fixture
def own(settings: Settings, redis: OwnRedis) -> Settings:
    return using(settings, redis)


async def _lost(own: Settings, redis: OwnRedis, one: Process) -> tuple[ConversationId, list[Entry]]:
    """A conversation of two messages, and a third that Redis lost and a slow persister has in its hands."""
    conversation = await one.conversation("a", "b")
    async with running_persister(own):
        await one.settled()
    size = redis.size()
    await one.append(conversation, "lost from the log")
    held = await one.read()
    await redis.cut_back(size)
    return conversation, held


async def _met(own: Settings, redis: OwnRedis, one: Process) -> tuple[ConversationId, list[Entry]]:
    """And two that were given its number and the next since, and are on the log only."""
    conversation, held = await _lost(own, redis, one)
    assert [await one.append(conversation, text) for text in ("c", "d")] == [2, 3]
    return conversation, held


async def test_a_list_is_not_without_what_is_pending_of_a_conversation_that_moved(
    own: Settings, redis: OwnRedis
) -> None:
    """Its header goes when the lost event is committed; nobody has loaded it when the list is read."""
    async with process(own) as one, process(own) as other:
        conversation, held = await _met(own, redis, one)
        await one.listed()
        await one.commit(held)
        for reader in (one, other):
            page = await reader.parts.listing.page(ALICE, page=1, page_size=50)
            [row] = [from_json(row) for row in page.items]
            assert row["conversation_id"] == conversation
            assert row["message_count"] == 5
        rows = (await one.parts.listing.after_cursor(ALICE, limit=1)).items
        assert from_json(rows[0])["message_count"] == 5
        assert (await one.parts.history.header(ALICE, conversation)).message_count == 5
        async with running_persister(own):
            await one.settled()
        assert (await one.parts.history.header(ALICE, conversation)).message_count == 5


async def test_what_was_committed_and_moved_is_shown_where_it_stands(own: Settings, redis: OwnRedis) -> None:
    """The log has it as pending once more: read past the cache, it is there once, and hides nobody."""
    async with process(own) as one:
        conversation, size = await _moved_and_forgotten(own, redis, one)
        await redis.cut_back(size)
        window = await one.parts.history.window(ALICE, conversation, Window(50, after=1))
        assert _texts(window) == TEXTS[2:]
        pages = [
            (await one.parts.history.page(ALICE, conversation, page=page, page_size=2)).items
            for page in (1, 2, 3)
        ]
        assert [_texts(items) for items in pages] == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
        names = one.keys.conversation(ALICE, conversation)
        await one.client.call("UNLINK", names.messages)
        assert _texts(await one.parts.history.recent(ALICE, conversation, 50)) == TEXTS


async def test_a_list_from_before_a_message_moved_is_not_shown_again(own: Settings, redis: OwnRedis) -> None:
    """The older log ends where PostgreSQL does, so nothing is behind, and its lists have the old number."""
    async with process(own) as one, process(own) as new:
        conversation, size = await _moved_and_forgotten(own, redis, one)
        assert _texts(await one.parts.history.recent(ALICE, conversation, 50)) == TEXTS
        await redis.cut_back(size)
        for reader in (one, new):
            assert _texts(await reader.parts.history.recent(ALICE, conversation, 50)) == TEXTS
            assert await reader.listed() == {conversation}
        async with running_persister(own):
            await one.settled()
        assert _texts(await one.parts.history.recent(ALICE, conversation, 50)) == TEXTS


async def test_an_append_that_is_repeated_is_answered_with_its_own_message(
    own: Settings, redis: OwnRedis
) -> None:
    """Redis remembers the number of its first answer; the record has another's message there by now."""
    async with process(own) as one:
        conversation, held = await _lost(own, redis, one)

        async def append() -> bytes:
            new = new_message({"role": "user", "content": "c", "id": "its-id"}, at_ms=NOW)
            appended = await persevering(
                lambda: one.parts.publisher.append(
                    ALICE, conversation, [new], at_ms=NOW, idempotency=Idempotency("key", "digest")
                )
            )
            return appended.messages[0]

        assert numbered(await append()).sequence_number == 2
        await one.commit(held)
        async with running_persister(own):
            await one.settled()
        answer = await append()
        assert _texts([answer]) == ["c"]
        assert numbered(answer).sequence_number == 3


async def test_what_an_emptied_redis_lost_is_noticed_in_whatever_order_it_is_committed(
    own: Settings, redis: OwnRedis
) -> None:
    """The log has nothing, or only what came later, to tell by that an entry is not on it."""
    async with process(own) as one:
        conversation = await one.conversation("a", "b")
        other = await one.conversation()
        async with running_persister(own):
            await one.settled()
        await one.append(conversation, "lost from the log")
        await one.append(other, "this too")
        first, second = await one.read()
        await redis.lose_everything()
        assert await one.numbers(conversation) == [0, 1]
        await one.commit([second])
        await one.commit([first])
        assert await one.numbers(conversation) == [0, 1, 2]
        assert await one.append(conversation, "c") == 3


async def _moved_and_forgotten(own: Settings, redis: OwnRedis, one: Process) -> tuple[ConversationId, int]:
    """All of it is in PostgreSQL; and how long the file was before Redis was told, with warm caches."""
    conversation, held = await _met(own, redis, one)
    assert await one.numbers(conversation) == [0, 1, 2, 3]
    size = redis.size()
    await one.commit(held)
    async with running_persister(own):
        await one.settled()
    assert await one.stored(conversation) == [0, 1, 2, 3, 4]
    return conversation, size


def _texts(served: list[bytes]) -> list[str]:
    return [from_json(numbered(message).body)["content"] for message in served]

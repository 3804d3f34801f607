"""Two gateways without Redis on one database: whatever they do at once, it is as if one came first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from common.assembly import Conversations, assemble_direct
from common.direct.remembering import forget_expired, remembered
from common.direct.transactions import Guards
from common.domain.errors import (
    ConversationDeleted,
    ConversationNotFound,
    IdempotencyKeyConflict,
    MessageIdConflict,
    StoreUnavailable,
)
from common.domain.ids import ConversationId, UserId, new_conversation_id
from common.domain.messages import numbered
from common.domain.paging import Window
from common.domain.publishing import Appended, Idempotency
from common.postgres.pool import Connection, Pool, open_pool
from common.settings import RedisSettings, Settings
from tests.redis_parts import ALICE, NOW, STATE, message
from tests.waiting import wait_until

ONE, OTHER = Idempotency("key", "one"), Idempotency("key", "other")


@dataclass(frozen=True)
class Scene:
    """Two gateways' parts, each with connections of its own, and an onlooker who can hold locks."""

    settings: Settings
    pools: tuple[Pool, Pool]
    first: Conversations
    second: Conversations
    onlooker: asyncpg.Connection[Any]

    async def conversation(self) -> ConversationId:
        """A new, empty conversation."""
        header, _ = await self.first.publisher.create(ALICE, STATE, at_ms=NOW)
        return header.id

    async def while_locked(self, conversation: ConversationId, *calls: Awaitable[Any]) -> list[Any]:
        """Start all `calls` while the conversation's row is held, then let go: each has begun by then."""
        async with self.onlooker.transaction():
            await self.onlooker.execute("SELECT FROM conversations WHERE id = $1 FOR UPDATE", conversation)
            tasks = [asyncio.ensure_future(call) for call in calls]
            await wait_until(lambda: self._waiting(len(calls)))
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def _waiting(self, count: int) -> bool:
        found = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
        # The first in the queue waits for the row's holder, the rest for the first.
        return await self.pools[0].fetchval(found, await self._database()) >= count

    async def _database(self) -> str:
        return await self.pools[0].fetchval("SELECT current_database()")


@pytest.fixture
async def scene(postgres_dsn: str, settings: Settings) -> AsyncIterator[Scene]:
    alone = settings.model_copy(update={"redis_enabled": False, "redis": RedisSettings()})
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(open_pool(alone.postgres, application_name="test"))
            for _ in range(2)
        ]
        onlooker = await asyncpg.connect(postgres_dsn)
        stack.push_async_callback(onlooker.close)
        yield Scene(
            alone, (first, second), assemble_direct(alone, first), assemble_direct(alone, second), onlooker
        )


def append(
    parts: Conversations, conversation: ConversationId, *texts: str, **more: Any
) -> Awaitable[Appended]:
    return parts.publisher.append(ALICE, conversation, [message(t) for t in texts], at_ms=NOW, **more)


async def numbers(scene: Scene, conversation: ConversationId) -> list[int]:
    found = await scene.second.history.recent(ALICE, conversation, 1000)
    return [numbered(m).sequence_number for m in found]


def sequence(answers: Sequence[Appended]) -> list[int]:
    return sorted(numbered(m).sequence_number for answer in answers for m in answer.messages)


async def test_appends_of_two_gateways_are_numbered_without_gap_or_repetition(scene: Scene) -> None:
    """Twenty batches of three, all at once."""
    conversation = await scene.conversation()
    answers = await asyncio.gather(
        *(append((scene.first, scene.second)[i % 2], conversation, "a", "b", "c") for i in range(20))
    )
    assert sequence(answers) == await numbers(scene, conversation) == list(range(60))
    for answer in answers:
        own = sequence([answer])
        assert own == list(range(own[0], own[0] + 3)), "a batch is in one piece"
    assert (await scene.first.history.header(ALICE, conversation)).message_count == 60


async def test_the_second_of_two_appends_sees_the_first(scene: Scene) -> None:
    """Both had begun before either could go on."""
    conversation = await scene.conversation()
    answers = await scene.while_locked(
        conversation, append(scene.first, conversation, "x"), append(scene.second, conversation, "y")
    )
    assert sequence(answers) == [0, 1]


async def test_after_a_delete_an_append_finds_nothing(scene: Scene) -> None:
    """Whichever comes first: nothing is left, and nothing comes back."""
    conversation = await scene.conversation()
    deleted, appended = await scene.while_locked(
        conversation,
        scene.first.publisher.delete(ALICE, conversation, at_ms=NOW),
        append(scene.second, conversation, "late"),
    )
    assert deleted is None
    assert isinstance(appended, (Appended, ConversationNotFound))
    with pytest.raises(ConversationNotFound):
        await numbers(scene, conversation)
    assert await scene.pools[0].fetchval("SELECT count(*) FROM messages") == 0


async def test_one_message_that_comes_twice_at_once_is_appended_once(scene: Scene) -> None:
    """Both get the same answer; one of them is told that it was there."""
    conversation = await scene.conversation()
    sent = [message("x", id="mine")]
    answers = await scene.while_locked(
        conversation,
        *(p.publisher.append(ALICE, conversation, sent, at_ms=NOW) for p in (scene.first, scene.second)),
    )
    assert answers[0].messages == answers[1].messages
    assert sorted(answer.known for answer in answers) == [0, 1]
    assert await numbers(scene, conversation) == [0]


async def test_one_id_with_two_bodies_at_once_is_a_conflict_for_one(scene: Scene) -> None:
    """As it is one after the other."""
    conversation = await scene.conversation()
    answers = await scene.while_locked(
        conversation,
        scene.first.publisher.append(ALICE, conversation, [message("x", id="mine")], at_ms=NOW),
        scene.second.publisher.append(ALICE, conversation, [message("y", id="mine")], at_ms=NOW),
    )
    assert [type(a) for a in answers if isinstance(a, Exception)] == [MessageIdConflict]
    assert await numbers(scene, conversation) == [0]


async def test_one_request_that_comes_twice_at_once_is_carried_out_once(scene: Scene) -> None:
    """The key says that it is one, though its messages have fresh ids."""
    conversation = await scene.conversation()
    answers = await scene.while_locked(
        conversation,
        append(scene.first, conversation, "x", idempotency=ONE),
        append(scene.second, conversation, "x", idempotency=ONE),
    )
    assert answers[0].messages == answers[1].messages
    assert sorted(answer.known for answer in answers) == [0, 1]
    assert await numbers(scene, conversation) == [0]


async def test_a_key_that_two_requests_use_at_once_is_one_s(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two conversations, so that no row's lock keeps them apart; both find the key new."""
    conversations = [await scene.conversation() for _ in range(2)]
    both_have_looked = asyncio.Barrier(2)

    async def look(*args: Any) -> Any:
        found = await remembered(*args)
        await both_have_looked.wait()
        return found

    monkeypatch.setattr("common.direct.publisher.remembered", look)
    answers = await asyncio.gather(
        append(scene.first, conversations[0], "x", idempotency=ONE),
        append(scene.second, conversations[1], "y", idempotency=OTHER),
        return_exceptions=True,
    )
    assert [type(a) for a in answers if isinstance(a, Exception)] == [IdempotencyKeyConflict]
    assert await scene.pools[0].fetchval("SELECT count(*) FROM messages") == 1


async def test_one_conversation_that_is_created_twice_at_once_is_there_once(scene: Scene) -> None:
    """Ten times from each side: one made it, the others found it."""
    for _ in range(5):
        conversation = new_conversation_id()
        answers = await asyncio.gather(
            *(
                parts.publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation)
                for parts in (scene.first, scene.second)
            )
        )
        assert sorted(found for _, found in answers) == [False, True]
        assert answers[0][0] == answers[1][0]


async def test_a_deleted_id_is_not_used_again(scene: Scene) -> None:
    """Neither to create, nor to append."""
    conversation = await scene.conversation()
    await scene.first.publisher.delete(ALICE, conversation, at_ms=NOW)
    with pytest.raises(ConversationDeleted):
        await scene.second.publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation)
    with pytest.raises(ConversationNotFound):
        await scene.second.publisher.append_to_new(ALICE, conversation, STATE, [message()], at_ms=NOW)


async def test_an_append_whose_commit_was_not_answered_is_made_once(scene: Scene) -> None:
    """The connection ends after the commit, before its answer: the second try finds the messages.

    A stand-in for the cut, because only here the moment is certain.
    """
    conversation = await scene.conversation()
    transactions = assemble_direct(scene.settings, scene.pools[0]).publisher
    change, cuts = transactions._transactions.change, iter([True])  # pyright: ignore

    def cut(user: UserId, conversation: ConversationId) -> Any:
        real = change(user, conversation)
        return _CutAfterCommit(real) if next(cuts, False) else real

    transactions._transactions.change = cut  # pyright: ignore
    answer = await transactions.append(ALICE, conversation, [message("x")], at_ms=NOW)
    assert answer.known == 1
    assert await numbers(scene, conversation) == [0]


async def test_a_guard_ends_a_transaction_before_anything_is_done(scene: Scene) -> None:
    """Reads and changes: it stands before each."""

    async def refuse(connection: Connection, _: UserId, __: ConversationId | None) -> None:
        assert await connection.fetchval("SELECT 1") == 1
        raise StoreUnavailable("not now")

    conversation = await scene.conversation()
    parts = assemble_direct(scene.settings, scene.pools[0], guards=Guards(refuse, refuse))
    publisher, history, listing = parts.publisher, parts.history, parts.listing
    for attempt in (
        publisher.create(ALICE, STATE, at_ms=NOW),
        publisher.append(ALICE, conversation, [message()], at_ms=NOW),
        publisher.append_to_new(ALICE, None, STATE, [message()], at_ms=NOW),
        publisher.update(ALICE, conversation, at_ms=NOW, title="x"),
        publisher.delete(ALICE, conversation, at_ms=NOW),
        history.recent(ALICE, conversation, 1),
        history.window(ALICE, conversation, Window(1, after=0)),
        history.page(ALICE, conversation, page=1, page_size=1),
        history.header(ALICE, conversation),
        listing.after_cursor(ALICE, limit=1),
        listing.page(ALICE, page=1, page_size=1),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert (await scene.second.history.header(ALICE, conversation)).version == 1


async def test_keys_whose_time_is_over_go(scene: Scene) -> None:
    """In steps; what is still good stays."""
    conversation = await scene.conversation()
    for i in range(7):
        await append(scene.first, conversation, str(i), idempotency=Idempotency(f"key-{i}", "d"))
    await scene.pools[0].execute(
        "UPDATE idempotency_keys SET expires_at = now() - interval '1 s' WHERE sequence_numbers[1] < 5"
    )
    assert await forget_expired(scene.pools[0], step=2) == 5
    assert await scene.pools[0].fetchval("SELECT count(*) FROM idempotency_keys") == 2


class _CutAfterCommit:
    def __init__(self, change: Any) -> None:
        self._change = change

    async def __aenter__(self) -> Any:
        return await self._change.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._change.__aexit__(*error)
        if error[0] is None:
            raise StoreUnavailable("cut") from ConnectionResetError()

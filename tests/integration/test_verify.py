"""Every kind of drift, planted by hand: found, named, mended, and nothing is found after."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from common.domain.ids import ConversationId
from common.domain.messages import Numbered
from common.settings import Settings
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW
from tests.stage import Stage, stage
from tests.verifying import kinds, parts_of, verify
from tools.verify.findings import Kind

SIX = list(range(6))
FAKE = Numbered(6, b'{"role":"user","content":"never sent","id":"x"}').served
EDITED = Numbered(5, b'{"content":"edited"}').served
Plant = Callable[[Stage, ConversationId], Awaitable[None]]


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        yield made


def redis(*commands: tuple[str | int | bytes, ...]) -> Plant:
    """Commands to Redis; the names of `ConversationKeys`, and `self`, stand for the conversation's."""

    async def plant(scene: Stage, conversation: ConversationId) -> None:
        names = scene.redis.keys.conversation(ALICE, conversation)._asdict() | {"self": conversation}
        for command in commands:
            words = (names.get(word, word) if isinstance(word, str) else word for word in command)
            await scene.redis.client.call(*words)

    return plant


def record(statement: str) -> Plant:
    """A change of the record; $1 is the conversation."""

    async def plant(scene: Stage, conversation: ConversationId) -> None:
        await scene.pool.execute(statement, conversation)

    return plant


async def first_id_is_of_another_message(scene: Stage, conversation: ConversationId) -> None:
    header = scene.redis.keys.conversation(ALICE, conversation).header
    message_id = await scene.pool.fetchval(
        "SELECT id FROM messages WHERE conversation_id = $1 AND sequence_number = 0", conversation
    )
    await scene.redis.client.call("HSET", header, f"#{message_id}", "3 - -")


async def last_id_is_forgotten(scene: Stage, conversation: ConversationId) -> None:
    header = scene.redis.keys.conversation(ALICE, conversation).header
    message_id = await scene.pool.fetchval(
        "SELECT id FROM messages WHERE conversation_id = $1 AND sequence_number = 5", conversation
    )
    await scene.redis.client.call("HDEL", header, f"#{message_id}")


IN_A_CONVERSATION: tuple[tuple[Plant, set[Kind]], ...] = (
    (redis(("RPOP", "messages")), {Kind.LIST_MISSING}),
    (redis(("LTRIM", "messages", 0, 3)), {Kind.LIST_MISSING}),
    (redis(("RPUSH", "messages", FAKE)), {Kind.LIST_EXTRA}),
    (redis(("LSET", "messages", 2, FAKE)), {Kind.LIST_MISSING, Kind.LIST_EXTRA, Kind.LIST_ORDER}),
    (redis(("LMOVE", "messages", "messages", "LEFT", "RIGHT")), {Kind.LIST_ORDER}),
    (redis(("LSET", "messages", 5, EDITED)), {Kind.LIST_BODY}),
    (redis(("LMOVE", "messages", "messages", "LEFT", "LEFT"), ("RPUSH", "messages", EDITED)),
     {Kind.LIST_BODY, Kind.LIST_DUPLICATE}),
    (redis(("RPUSH", "messages", b"no message")), {Kind.LIST_GARBLED}),
    (redis(("HSET", "header", "next", 4)), {Kind.HEADER_NEXT_BEHIND}),
    (redis(("HSET", "header", "count", 5)), {Kind.HEADER_COUNT}),
    (redis(("HSET", "header", "title", b'"Another"')), {Kind.HEADER_TITLE}),
    (redis(("HSET", "header", "model", b'"another"')), {Kind.HEADER_MODEL}),
    (redis(("HSET", "header", "metadata", b'{"a":1}')), {Kind.HEADER_METADATA}),
    (redis(("HSET", "header", "preview", b'"another"')), {Kind.HEADER_PREVIEW}),
    (redis(("HSET", "header", "modified", NOW + 5)), {Kind.HEADER_MODIFIED}),
    (redis(("HSET", "header", "created", b'"2020-01-01T00:00:00Z"')), {Kind.HEADER_CREATED}),
    (redis(("HSET", "header", "version", 3)), {Kind.HEADER_VERSION}),
    (redis(("HSET", "header", "version", 30)), {Kind.HEADER_VERSION}),
    (redis(("HSET", "header", "epoch", 3)), {Kind.HEADER_EPOCH}),
    (redis(("HDEL", "header", "title")), {Kind.HEADER_GARBLED}),
    (redis(("HSET", "header", "title", b'"cut')), {Kind.HEADER_GARBLED}),
    (redis(("PERSIST", "header")), {Kind.HEADER_NO_TTL}),
    (redis(("HSET", "header", "#x", "2 - -")), {Kind.IDS_UNKNOWN}),
    (first_id_is_of_another_message, {Kind.IDS_NUMBER}),
    (last_id_is_forgotten, {Kind.IDS_MISSING}),
    (redis(("RPUSH", "pending", "1-1")),
     {Kind.PENDING_ORPHAN, Kind.PENDING_UNLISTED, Kind.HEADER_EXPIRES}),
    (redis(("RPUSH", "pending", "1-1"), ("SADD", "user_pending", "self"), ("PERSIST", "header")),
     {Kind.PENDING_ORPHAN}),
    (record("UPDATE conversations SET message_count = 9 WHERE id = $1"), {Kind.RECORD_COUNT}),
    (record("UPDATE conversations SET preview = 'other' WHERE id = $1"), {Kind.RECORD_PREVIEW}),
    (record("UPDATE conversations SET next_sequence_number = 3 WHERE id = $1"), {Kind.RECORD_NEXT}),
    (record("INSERT INTO tombstones SELECT user_id, id, 4, 2, 2 FROM conversations WHERE id = $1"),
     {Kind.RECORD_BURIED}),
)  # fmt: skip


async def settled(scene: Stage) -> ConversationId:
    """Six messages, in both stores; the lists are cached."""
    conversation = await scene.conversation(messages=6)
    await persist(scene)
    assert await scene.numbers(conversation) == SIX
    await scene.parts.listing.page(ALICE, page=1, page_size=10)
    return conversation


async def is_clean(scene: Stage) -> None:
    """Nothing is found, and nothing was too busy to be judged."""
    tally = await verify(parts_of(scene))
    assert (tally.drift, tally.undecided) == (0, 0), tally.examples


async def mends(scene: Stage, *expected: Kind) -> None:
    """A dry run finds exactly these kinds and changes nothing; a repair leaves nothing."""
    parts = parts_of(scene)
    for _ in range(2):
        found = await verify(parts)
        assert kinds(found) == set(expected)
        assert found.left == found.drift > 0
    repaired = await verify(parts, repair=True)
    assert repaired.left == 0, repaired.examples
    assert kinds(repaired) <= set(expected), "what only follows from the rest may be mended with it"
    await is_clean(scene)


async def goes_on(scene: Stage, conversation: ConversationId, *, number: int) -> None:
    """The next append gets this number, is stored, and is where it belongs in both."""
    await scene.append(conversation, "after the repair")
    assert (await scene.numbers(conversation))[-1] == number
    await persist(scene)
    await is_clean(scene)


async def test_drift_in_a_conversation_is_found_named_and_mended(scene: Stage) -> None:
    """Each kind in a conversation of its own, and only there; all of them are in use again after."""
    conversations = [await settled(scene) for _ in IN_A_CONVERSATION]
    untouched = await settled(scene)
    for conversation, (plant, _) in zip(conversations, IN_A_CONVERSATION, strict=True):
        await plant(scene, conversation)
    parts = parts_of(scene)
    for conversation, (_, expected) in zip(conversations, IN_A_CONVERSATION, strict=True):
        judged = await parts.conversations.judge(ALICE, conversation)
        assert {finding.kind for finding in judged.found} == expected
        left = await parts.mender.mend(judged)
        assert not left, expected
    assert (await parts.conversations.judge(ALICE, untouched)).found == []
    await verify(parts, repair=True)
    await is_clean(scene)
    for conversation, (_, expected) in zip(conversations, IN_A_CONVERSATION, strict=True):
        await scene.append(conversation, "after the repair")
        shown = SIX if expected != {Kind.RECORD_BURIED} else [n for n in SIX if n != 2]
        assert await scene.numbers(conversation) == [*shown, 6], expected
    await persist(scene)
    await is_clean(scene)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (redis(("SADD", "user_pending", "self")), Kind.USER_PENDING_ORPHAN),
        (redis(("ZREM", "user_conversations", "self"), ("HDEL", "user_summaries", "self")),
         Kind.USER_LIST_MISSING),
        (redis(("ZADD", "user_conversations", NOW + 9, "self")), Kind.USER_LIST_SCORE),
        (redis(("HSET", "user_summaries", "self", "{}")), Kind.USER_LIST_SUMMARY),
        (redis(("ZADD", "user_conversations", NOW, "0191e000-0000-7000-8000-000000000000"),
               ("HSET", "user_summaries", "0191e000-0000-7000-8000-000000000000", "{}")),
         Kind.USER_LIST_EXTRA),
        (redis(("ZREM", "user_conversations", "-")), Kind.USER_LIST_FLOOR),
    ],
)  # fmt: skip
async def test_drift_in_a_users_list_is_found_named_and_mended(
    scene: Stage, plant: Plant, kind: Kind
) -> None:
    """The list is dropped and rebuilt; what is pending is in it."""
    conversation = await settled(scene)
    other = await scene.conversation(messages=1)
    await plant(scene, conversation)
    await mends(scene, kind)
    page = await scene.parts.listing.page(ALICE, page=1, page_size=10)
    assert len(page.items) == 2
    assert other.encode() in page.items[0]
    assert conversation.encode() in page.items[1]

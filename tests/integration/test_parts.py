"""Conversations part by part: of bounded size, whole, and no part of what is gone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from common.domain.errors import ConversationNotFound
from common.domain.ids import ConversationId
from common.domain.parts import Part
from common.postgres.store import PART_BYTES, PART_MESSAGES
from common.settings import Settings
from tests.keeping import with_redis
from tests.persisting import go_cold, persist
from tests.redis_parts import ALICE, NOW, message
from tests.stage import Scene, Stage, scene_of


@pytest.fixture
async def scene(kept: Settings) -> AsyncIterator[Scene]:
    async with scene_of(kept) as made:
        yield made


async def parts_of(scene: Scene, conversation: ConversationId) -> list[Part]:
    """Every part of a conversation, and the empty one at its end."""
    parts = [await scene.parts.history.part(ALICE, conversation)]
    while parts[-1].messages:
        last = parts[-1].messages[-1].sequence_number
        parts.append(await scene.parts.history.part(ALICE, conversation, after=last))
    return parts


@pytest.mark.parametrize("compressible", [False, True])
async def test_a_part_is_bounded_in_bytes(scene: Scene, compressible: bool) -> None:
    """By what messages are, not by what little room they take where all of one is the same letter."""
    conversation = await scene.conversation()
    for _ in range(12):
        await scene.append(conversation, "x" * 150_000 if compressible else secrets.token_urlsafe(112_500))
    await go_cold(scene)
    parts = await parts_of(scene, conversation)
    sizes = [sum(len(one.body) for one in part.messages) for part in parts]
    assert sum(sizes) > 12 * 150_000
    assert max(sizes) < PART_BYTES + 151_000
    assert max(len(part.messages) for part in parts) > 1


async def test_a_part_is_bounded_in_messages_and_none_is_missing(scene: Scene) -> None:
    """However small they are; also where the newest are pending only."""
    conversation = await scene.conversation()
    for first in range(0, 1200, 400):
        batch = [message(str(number)) for number in range(first, first + 400)]
        await scene.parts.publisher.append(ALICE, conversation, batch, at_ms=NOW)
        if first == 400:
            await persist(scene)
    parts = await parts_of(scene, conversation)
    numbers = [one.sequence_number for part in parts for one in part.messages]
    assert numbers == list(range(1200))
    assert max(len(part.messages) for part in parts) <= PART_MESSAGES


async def test_there_is_no_part_of_what_is_deleted(scene: Scene) -> None:
    """Pending, settled, and when Redis has forgotten about it: never an end that looks like one."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    assert len((await scene.parts.history.part(ALICE, conversation, after=0)).messages) == 2
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    for settle in (persist, go_cold):
        with pytest.raises(ConversationNotFound):
            await scene.parts.history.part(ALICE, conversation, after=0)
        await settle(scene)
    with pytest.raises(ConversationNotFound):
        await scene.parts.history.part(ALICE, conversation, after=0)


async def test_conversations_are_gone_through_though_they_move(scene: Scene) -> None:
    """In the order of their ids: one that is modified meanwhile is neither missed nor there twice."""
    made = sorted([await scene.conversation(messages=1) for _ in range(5)])
    await persist(scene)
    seen: list[ConversationId] = []
    while ids := await scene.parts.listing.ids(ALICE, after=seen[-1] if seen else None, limit=2):
        seen += ids
        for conversation in (made[-1], made[0]):
            await scene.parts.publisher.append(ALICE, conversation, [message("up")], at_ms=NOW + len(seen))
        await persist(scene)
    assert seen == made


@with_redis
async def test_what_is_committed_between_two_reads_is_in_the_part(scene: Stage) -> None:
    """Redis is asked before PostgreSQL: the other way round it would be in neither."""
    conversation = await scene.conversation(messages=2)
    scene.store.before_window.shut()
    reading = asyncio.create_task(scene.parts.history.part(ALICE, conversation))
    await scene.store.before_window.reached.wait()
    await persist(scene)
    scene.store.before_window.passable.set()
    assert [one.sequence_number for one in (await reading).messages] == [0, 1]


@with_redis
async def test_a_delete_while_a_part_is_read_leaves_no_part(scene: Stage) -> None:
    """What PostgreSQL said before is not given out, nor what is pending without it."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    await scene.append(conversation, "pending")
    scene.store.after_window.shut()
    reading = asyncio.create_task(scene.parts.history.part(ALICE, conversation))
    await scene.store.after_window.reached.wait()
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    scene.store.after_window.passable.set()
    with pytest.raises(ConversationNotFound):
        await reading

"""What one gateway does to a conversation, another one that knows it sees: nothing is kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.domain.errors import ConversationNotFound
from common.settings import Settings
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW, message
from tests.stage import Stage, second_process, stage


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Stage]:
    async with stage(settings) as made:
        yield made


@pytest.mark.parametrize("committed", [False, True])
async def test_a_deletion_is_seen_by_a_gateway_that_knew_the_conversation(
    scene: Stage, committed: bool
) -> None:
    """It has read, listed and appended; the next moment there is nothing to read, list or append to."""
    conversation = await scene.conversation(messages=2)
    async with second_process(scene) as other:
        assert len(await other.history.recent(ALICE, conversation, 10)) == 2
        assert len((await other.listing.after_cursor(ALICE, limit=10)).items) == 1
        await other.publisher.append(ALICE, conversation, [message("mine")], at_ms=NOW)
        if committed:
            await persist(scene)

        await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
        if committed:
            await persist(scene)

        with pytest.raises(ConversationNotFound):
            await other.history.recent(ALICE, conversation, 10)
        with pytest.raises(ConversationNotFound):
            await other.history.header(ALICE, conversation)
        with pytest.raises(ConversationNotFound):
            await other.publisher.append(ALICE, conversation, [message("late")], at_ms=NOW)
        assert (await other.listing.after_cursor(ALICE, limit=10)).items == []

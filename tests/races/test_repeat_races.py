"""An append that is repeated while what it made is deleted: it is told of the deletion, by its own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from common.assembly import Conversations
from common.domain.errors import ConversationNotFound, MessageRemoved, TurnlogError
from common.domain.ids import ConversationId, MessageId
from common.domain.messages import new_message, numbered, parse_body
from common.settings import Settings
from tests.redis_parts import ALICE, NOW, STATE
from tests.stage import Stage, stage


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Stage]:
    async with stage(settings) as made:
        yield made


async def _the_conversation(parts: Conversations, conversation: ConversationId) -> None:
    await parts.publisher.delete(ALICE, conversation, at_ms=NOW)


async def _the_message(parts: Conversations, conversation: ConversationId) -> None:
    await parts.editor.delete(ALICE, conversation, MessageId("m0"), at_ms=NOW)


@pytest.mark.parametrize(
    ("delete", "refusal"),
    [
        pytest.param(_the_conversation, ConversationNotFound, id="of the conversation"),
        pytest.param(_the_message, MessageRemoved, id="of the message"),
    ],
)
async def test_a_repeat_that_a_deletion_overtakes_is_not_taken_for_another_message(
    scene: Stage,
    monkeypatch: pytest.MonkeyPatch,
    delete: Callable[[Conversations, ConversationId], Awaitable[None]],
    refusal: type[TurnlogError],
) -> None:
    """The log said that its id is taken; when the message is to be compared it is gone."""
    parts = scene.parts
    header, _ = await parts.publisher.create(ALICE, STATE, at_ms=NOW)
    conversation = header.id
    first = new_message({"id": "m0", "role": "user", "content": "once"}, at_ms=NOW)
    appended = await parts.publisher.append(ALICE, conversation, [first], at_ms=NOW)
    by_number, overtaken = parts.history.by_number, list[str]()

    async def overtaken_by_number(*args: Any) -> Any:
        if not overtaken:
            overtaken.append("once")
            await delete(parts, conversation)
        return await by_number(*args)

    monkeypatch.setattr(parts.history, "by_number", overtaken_by_number)
    # As it was read back, with the time that was ours: only a comparison can tell that it is the same.
    again = new_message(parse_body(numbered(appended.messages[0]).body), at_ms=NOW + 1)
    with pytest.raises(refusal):
        await parts.publisher.append(ALICE, conversation, [again], at_ms=NOW + 1)
    assert overtaken

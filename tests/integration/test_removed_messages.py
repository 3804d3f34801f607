"""Messages that are gone stay gone, whatever comes of them later, and under whatever number."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from common.domain.events import ConversationEvent, MessagesAppended
from common.domain.ids import MessageId
from common.domain.messages import parse_body
from common.domain.overlay import overlay, pending_messages
from common.domain.paging import Window
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.record import ALICE, History, body, pool_of, recorded, rows_of


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def _write(pool: Pool, *events: ConversationEvent) -> None:
    for event in events:
        await BatchWriter(pool).write(recorded([event]))


def _again(history: History, message_id: str) -> MessagesAppended:
    """An append of a message that had another number before: Redis had forgotten that one."""
    event: MessagesAppended = history.appended("once more")
    return event.model_copy(update={"bodies": (body(message_id, "once more"),)})


@pytest.mark.parametrize("how", ["deleted", "truncated"])
@pytest.mark.parametrize("late", [False, True], ids=["came before", "comes after"])
async def test_a_removed_message_does_not_come_back_under_another_number(
    pool: Pool, how: str, late: bool
) -> None:
    """Neither one that was there, nor one whose append overtook nothing but its own removal."""
    history = History()
    history.created()
    append = history.appended("a", "b")
    removal = history.removed(1) if how == "deleted" else history.truncated(0)
    await _write(pool, *([removal, append] if late else [append, removal]))

    await _write(pool, _again(history, "m1"))

    rows = await rows_of(pool)
    assert [row["id"] for row in rows["messages"]] == ["m0"]
    [conversation] = rows["conversations"]
    assert (conversation["message_count"], conversation["next_sequence_number"]) == (1, 3)


async def test_who_looks_a_removed_message_up_is_told(pool: Pool) -> None:
    """An append asks by ids before it gives a number."""
    history = History()
    await _write(pool, history.created(), history.appended("a", "b", "c"), history.truncated(0))
    looked = await Store(pool).messages_by_id(
        ALICE, history.conversation, [MessageId(name) for name in ("m0", "m1", "m2", "m3")]
    )
    assert set(looked.found) == {"m0"}
    assert looked.removed == {"m1", "m2"}


async def test_a_removed_message_that_is_pending_once_more_hides_nobody_else(pool: Pool) -> None:
    """It came to a number that was taken, so it stood elsewhere when it was removed. Redis came back from
    before all that, and has it as pending at the number that its event says."""
    history = History()
    history.created()
    append = history.appended("a", "b")
    await _write(pool, history.events[0], append)
    second = append.model_copy(update={"bodies": (append.bodies[0], body("second", "came second"))})
    removal = history.removed(1).model_copy(update={"message_id": MessageId("second")})
    await _write(pool, second, removal)

    stored, pending = await Store(pool).read_beside(
        ALICE,
        history.conversation,
        pending_messages([second]),
        lambda queries, known: queries.window(
            ALICE, history.conversation, Window(50), excluding=known.touched
        ),
    )

    assert [parse_body(message.body)["id"] for message in overlay(stored, pending)] == ["m0", "m1"]


async def test_the_ids_of_a_deleted_conversation_are_forgotten(pool: Pool) -> None:
    """Its gravestone says it all."""
    history = History()
    await _write(pool, history.created(), history.appended("a", "b"), history.truncated(-1))
    assert len((await rows_of(pool))["removed_messages"]) == 2

    await _write(pool, history.deleted(), history.removed(0), history.truncated(-1))

    assert (await rows_of(pool))["removed_messages"] == []

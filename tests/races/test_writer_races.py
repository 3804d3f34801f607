"""Two writers at one conversation: what one has deleted, the other cannot bring back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import asyncpg
import pytest
import pytest_asyncio

from common.domain.events import ConversationEvent
from common.postgres.pool import Pool
from common.postgres.writer import BatchWriter, apply
from common.settings import Settings
from tests.record import History, pool_of, recorded, rows_of
from tests.waiting import wait_until


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


@pytest_asyncio.fixture
async def bystander(settings: Settings) -> AsyncGenerator[asyncpg.Connection]:
    """A connection that looks on."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    yield connection
    await connection.close()


async def test_a_redelivery_after_a_delete_brings_nothing_back(pool: Pool) -> None:
    """Every event of a deleted conversation, again and in any company, leaves the gravestone alone."""
    history = History()
    history.created()
    history.appended("a", "b")
    history.edited(0, "A")
    history.updated("Another title")
    history.deleted()
    writer = BatchWriter(pool)
    await writer.write(recorded(history.events))
    gravestone = await rows_of(pool)
    await writer.write(recorded(history.events[:-1]))
    for event in history.events:
        await writer.write(recorded([event]))
    assert await rows_of(pool) == gravestone
    assert gravestone["messages"] == []


async def test_a_late_event_of_a_removed_message_does_not_bring_it_back(pool: Pool) -> None:
    """The message comes after its own deletion, for the first time or again."""
    history = History()
    appended = history.appended("a", "b", "c")
    edited = history.edited(1, "B")
    removed = history.removed(1)
    truncated = history.truncated(1)
    for event in (removed, truncated, appended, edited, appended):
        await BatchWriter(pool).write(recorded([event]))
    messages = (await rows_of(pool))["messages"]
    assert [row["sequence_number"] for row in messages] == [0]


@pytest.mark.parametrize("first", ["conversation", "message", "tail"])
async def test_a_stale_append_meets_a_delete_that_is_not_committed_yet(
    pool: Pool, bystander: asyncpg.Connection, first: str
) -> None:
    """The append's transaction began, and would have looked, before the delete's committed."""
    history = History()
    history.created()
    stale = history.appended("a")
    deletions = {
        "conversation": history.deleted,
        "message": lambda: history.removed(0),
        "tail": lambda: history.truncated(-1),
    }
    await _second_meets_uncommitted_first(pool, bystander, [deletions[first]()], [stale])
    rows = await rows_of(pool)
    assert rows["messages"] == []
    assert rows["conversations"][0]["message_count"] == 0


async def test_a_delete_meets_an_append_that_is_not_committed_yet(
    pool: Pool, bystander: asyncpg.Connection
) -> None:
    """The delete's transaction began before the messages that it has to remove could be seen."""
    history = History()
    appended, deleted = history.appended("a", "b"), history.deleted()
    await _second_meets_uncommitted_first(pool, bystander, [appended], [deleted])
    rows = await rows_of(pool)
    assert rows["messages"] == []
    assert rows["conversations"][0]["deleted_at"] is not None


async def test_two_appends_at_once_are_both_counted(pool: Pool, bystander: asyncpg.Connection) -> None:
    """A count is of what is there when it is its turn; a redelivery in the other writer counts nothing."""
    history = History()
    one, two = history.appended("a", "b"), history.appended("c")
    await _second_meets_uncommitted_first(pool, bystander, [one], [two, one])
    [conversation] = (await rows_of(pool))["conversations"]
    assert (conversation["message_count"], conversation["preview"]) == (3, "c")


async def test_batches_in_opposite_orders_do_not_deadlock(pool: Pool) -> None:
    """Every batch locks in one order, whatever order its events are in."""
    histories = [History() for _ in range(20)]
    for history in histories:
        history.created()
        history.appended("a")
    events = [event for history in histories for event in history.events]
    batches = [events, events[::-1]] * 10
    await asyncio.gather(*(BatchWriter(pool).write(recorded(batch)) for batch in batches))
    rows = await rows_of(pool)
    assert [row["message_count"] for row in rows["conversations"]] == [1] * 20


async def _second_meets_uncommitted_first(
    pool: Pool,
    bystander: asyncpg.Connection,
    first: Sequence[ConversationEvent],
    second: Sequence[ConversationEvent],
) -> None:
    """Let `second` go as far as it can while `first` is written and not committed; then commit both."""
    async with pool.acquire() as holder, holder.transaction():
        await apply(holder, recorded(first))
        other = asyncio.create_task(BatchWriter(pool).write(recorded(second)))

        async def waits_or_is_done() -> bool:
            waiting = await bystander.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(waiting) or other.done()

        await wait_until(waits_or_is_done)
    await other

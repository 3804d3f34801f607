"""Two writers at one conversation: what one has deleted, the other cannot bring back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from common.domain.events import ConversationEvent
from common.postgres.pool import Pool
from common.postgres.queries import statement
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
    for event in history.events[:-1]:
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


@pytest.mark.parametrize("deletion", ["conversation", "message", "tail"])
async def test_a_stale_append_meets_a_delete_that_has_looked_already(
    pool: Pool, bystander: asyncpg.Connection, deletion: str
) -> None:
    """The delete has removed all messages there were, and has not committed, when the append comes."""
    history = await _known(pool)
    stale = history.appended("a")
    deletions = {
        "conversation": history.deleted,
        "message": lambda: history.removed(0),
        "tail": lambda: history.truncated(-1),
    }
    await _meet(pool, bystander, [deletions[deletion]()], after="remove_messages", second=[stale])
    rows = await rows_of(pool)
    assert rows["messages"] == []
    assert rows["conversations"][0]["message_count"] == 0


async def test_a_delete_meets_an_append_that_has_looked_already(
    pool: Pool, bystander: asyncpg.Connection
) -> None:
    """The append has seen that the conversation lives, and has not written, when the delete comes."""
    history = await _known(pool)
    stale, deleted = history.appended("a", "b"), history.deleted()
    await _meet(pool, bystander, [stale], after="lock_conversations", second=[deleted])
    rows = await rows_of(pool)
    assert rows["messages"] == []
    assert rows["conversations"][0]["deleted_at"] is not None


async def test_two_appends_at_once_are_both_counted(pool: Pool, bystander: asyncpg.Connection) -> None:
    """A count is of what is there when it is its turn; a redelivery in the other writer counts nothing."""
    history = await _known(pool)
    one, two = history.appended("a", "b"), history.appended("c")
    await _meet(pool, bystander, [one], after="update_conversations", second=[two, one])
    [conversation] = (await rows_of(pool))["conversations"]
    assert (conversation["message_count"], conversation["preview"]) == (3, "c")


async def test_batches_in_opposite_orders_do_not_deadlock(pool: Pool, bystander: asyncpg.Connection) -> None:
    """Every batch locks in one order, whatever order its events are in.

    Both are held up in the middle: one order would have the first half, the other the second.
    """
    await _known(pool)  # else both would wait for the user's row, before any conversation
    histories = [History() for _ in range(5)]
    events = [history.appended("a") for history in histories]
    async with pool.acquire() as holder, holder.transaction():
        await apply(holder, recorded([events[2]]))
        writers = [BatchWriter(pool).write(recorded(batch)) for batch in (events, events[::-1])]
        both = asyncio.gather(*writers)
        await wait_until(lambda: _waiting(bystander, 2))
    await both
    rows = await rows_of(pool)
    assert sorted(row["message_count"] for row in rows["conversations"]) == [0, 1, 1, 1, 1, 1]


async def test_batches_of_partitions_in_opposite_orders_do_not_deadlock(
    pool: Pool, bystander: asyncpg.Connection
) -> None:
    """The last thing a batch locks is how far each partition is: in one order, too."""
    await _known(pool)
    made = [History().appended("a") for _ in range(10)]
    places = [item for number, event in enumerate(made) for item in recorded([event], number % 5)]
    async with pool.acquire() as holder, holder.transaction():
        await apply(holder, recorded([History().appended("a")], 2))
        writers = [BatchWriter(pool).write(batch) for batch in (places[:5], places[:4:-1])]
        both = asyncio.gather(*writers)
        await wait_until(lambda: _waiting(bystander, 2))
    await both
    assert await pool.fetchval("SELECT count(*) FROM committed_positions") == 5


async def _known(pool: Pool) -> History:
    """A conversation that PostgreSQL has: making a new one would wait for another anyway."""
    history = History()
    await BatchWriter(pool).write(recorded([history.created()]))
    return history


class Held:
    """A connection that stops after one of the writer's statements, until it is let go."""

    def __init__(self, connection: Any, after: str) -> None:
        self._connection = connection
        self._after = statement(after)
        self.reached = asyncio.Event()
        self.let_go = asyncio.Event()

    async def fetch(self, sql: str, *arguments: object) -> Any:
        rows = await self._connection.fetch(sql, *arguments)
        if sql == self._after:
            self.reached.set()
            await self.let_go.wait()
        return rows


async def _meet(
    pool: Pool,
    bystander: asyncpg.Connection,
    first: Sequence[ConversationEvent],
    *,
    after: str,
    second: Sequence[ConversationEvent],
) -> None:
    """Hold `first` up after one statement, let `second` go as far as it can, then let both end."""
    async with pool.acquire() as connection, asyncio.TaskGroup() as tasks:
        held = Held(connection, after)

        async def write_first() -> None:
            async with connection.transaction():
                await apply(cast(Any, held), recorded(first))

        tasks.create_task(write_first())
        await held.reached.wait()
        other = tasks.create_task(BatchWriter(pool).write(recorded(second)))

        async def waits_or_is_done() -> bool:
            return other.done() or await _waiting(bystander, 1)

        await wait_until(waits_or_is_done)
        held.let_go.set()


async def _waiting(bystander: asyncpg.Connection, count: int) -> bool:
    """Whether `count` writers wait for a lock."""
    waiting = await bystander.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return waiting == count

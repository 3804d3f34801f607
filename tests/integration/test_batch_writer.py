"""A batch of events becomes rows: in one transaction, once, and the same in whatever order it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.domain.ids import Position, UserId, isoformat_ms
from common.postgres.changes import Collision, Recorded, Unstorable
from common.postgres.pool import Pool
from common.postgres.store import Loaded, Store
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.record import NOW, History, body, logged, pool_of, recorded, rows_of


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def load(pool: Pool, history: History) -> Loaded:
    loaded = await Store(pool).load(history.user, history.conversation, 100)
    assert loaded is not None
    return loaded


async def test_what_was_written_comes_back_exactly(pool: Pool) -> None:
    """Bodies, metadata and times are the bytes that came, not what they mean."""
    history = History()
    created = history.created("Grüße")
    appended = history.appended("first", ["parts", {"type": "text", "text": "of it"}], None)
    await BatchWriter(pool).write(recorded(history.events))
    loaded = await load(pool, history)
    assert loaded.messages == appended.numbered
    header = loaded.header
    assert header.state == created.state
    assert (header.next_sequence_number, header.message_count, header.version) == (3, 3, 2)
    assert (header.last_modified_ms, header.preview, header.deleted) == (NOW + 2, "parts of it", False)


async def test_columns_are_copies_for_queries(pool: Pool) -> None:
    """A field that does not fit its column stays in the payload alone; nothing is refused for it."""
    history = History()
    fields = b'{"id":"m0","role":7,"tokens_used":1e3,"latency_ms":1%b,"model":"x"}' % (b"0" * 400)
    appended = history.appended("replaced")
    odd = appended.model_copy(update={"bodies": (type(appended.bodies[0])(fields),)})
    await BatchWriter(pool).write(recorded([odd]))
    [row] = (await rows_of(pool))["messages"]
    assert (row["role"], row["tokens_used"], row["latency_ms"], row["model"]) == (None, None, None, "x")
    assert row["payload"] == fields


async def test_messages_may_come_before_their_conversation(pool: Pool) -> None:
    """Another consumer has the created event: the conversation is there meanwhile, without its title."""
    history = History()
    created, appended = history.created(), history.appended("early")
    await BatchWriter(pool).write(recorded([appended]))
    early = await load(pool, history)
    assert early.messages == appended.numbered
    assert (early.header.state.title, early.header.state.created_at) == (None, isoformat_ms(NOW + 2))
    await BatchWriter(pool).write(recorded([created]))
    assert (await load(pool, history)).header.state == created.state


async def test_a_deleted_conversation_is_a_gravestone(pool: Pool) -> None:
    """The row stays and says so; what it held is gone, and counters stay for whoever asks later."""
    history = History()
    history.created()
    history.appended("a", "b")
    history.removed(0)
    history.deleted()
    await BatchWriter(pool).write(recorded(history.events))
    loaded = await load(pool, history)
    assert loaded.messages == []
    header = loaded.header
    assert header.deleted
    assert (header.state.title, header.state.model, header.state.metadata) == (None, None, b"{}")
    assert (header.preview, header.message_count) == (None, 0)
    assert (header.next_sequence_number, header.version) == (2, 4)
    assert (await rows_of(pool))["tombstones"] == []


async def test_an_edit_replaces_a_message_and_its_preview(pool: Pool) -> None:
    """The conversation's preview is that of its last message that says something, as it is now."""
    history = History()
    history.created()
    history.appended("one", "two", "")
    writer = BatchWriter(pool)
    await writer.write(recorded(history.events))
    assert (await load(pool, history)).header.preview == "two"
    edited = history.edited(1, "2nd")
    await writer.write(recorded([edited]))
    loaded = await load(pool, history)
    assert (loaded.messages[1].body, loaded.header.preview) == (edited.body, "2nd")
    await writer.write(recorded([history.edited(1, "")]))
    assert (await load(pool, history)).header.preview == "one"


async def test_the_preview_is_looked_for_as_far_back_as_it_must(pool: Pool) -> None:
    """However many silent messages follow the last that says something."""
    history = History()
    history.appended("far back", *[None] * 50, "last")
    writer = BatchWriter(pool)
    await writer.write(recorded(history.events))
    await writer.write(recorded([history.truncated(50)]))
    header = (await load(pool, history)).header
    assert (header.preview, header.message_count, header.next_sequence_number) == ("far back", 51, 52)


async def test_removed_messages_leave_a_gap(pool: Pool) -> None:
    """Counts follow the rows that are there; numbers are never given again."""
    history = History()
    history.created()
    history.appended("a", "b", "c", "d")
    history.removed(1)
    history.truncated(2)
    await BatchWriter(pool).write(recorded(history.events))
    loaded = await load(pool, history)
    assert [m.sequence_number for m in loaded.messages] == [0, 2]
    assert (loaded.header.message_count, loaded.header.preview) == (2, "c")
    assert loaded.header.next_sequence_number == 4


async def test_a_second_delivery_changes_nothing(pool: Pool) -> None:
    """All of it again, in a batch of its own, leaves every row and count as it was."""
    history = History()
    history.created()
    history.appended("a", "b", "c")
    history.edited(0, "A")
    history.removed(1)
    history.updated("Another title")
    events = recorded([*history.events, logged("q1")])
    await BatchWriter(pool).write(events)
    before = await rows_of(pool)
    await BatchWriter(pool).write(events)
    for event in events:
        await BatchWriter(pool).write([event])
    assert await rows_of(pool) == before
    assert [len(rows) for rows in before.values()] == [1, 2, 1, 1, 1]


async def test_an_older_change_that_comes_last_changes_nothing(pool: Pool) -> None:
    """Titles and edits alike: the newest that ever came is what counts, not the last one to come."""
    history = History()
    history.created("old")
    history.appended("a")
    history.edited(0, "A")
    history.edited(0, "the newest")
    history.updated("new")
    events = recorded(history.events)
    for event in reversed(events):
        await BatchWriter(pool).write([event])
    loaded = await load(pool, history)
    assert loaded.messages[0].body == body("m0", "the newest")
    assert (loaded.header.state.title, loaded.header.message_count) == ("new", 1)


async def test_another_message_under_a_taken_id_is_refused(pool: Pool) -> None:
    """It is an error, so that it can be looked at: neither message is dropped in silence."""
    history, other = History(), History()
    other.conversation = history.conversation
    appended = history.appended("mine")
    await BatchWriter(pool).write(recorded([appended]))
    other.appended("another body, same id")
    with pytest.raises(Collision, match="sequence number 0"):
        await BatchWriter(pool).write(recorded(other.events))
    with pytest.raises(Collision, match="sequence number 0"):
        await BatchWriter(pool).write(recorded([appended, *other.events]))
    assert (await load(pool, history)).messages == appended.numbered


async def test_a_message_that_is_there_at_another_number_is_there(pool: Pool) -> None:
    """One row per message id, whatever is retried: it was appended again after Redis had lost it."""
    history = History()
    appended = history.appended("mine")
    await BatchWriter(pool).write(recorded([appended]))
    again = appended.model_copy(update={"first_sequence_number": 5, "version": 2})
    assert await BatchWriter(pool).write(recorded([again])) == {(history.user, history.conversation)}
    with pytest.raises(Collision):
        await BatchWriter(pool).write(
            recorded([history.edited(0, "x").model_copy(update={"message_id": "m9"})])
        )
    assert len((await rows_of(pool))["messages"]) == 1


async def test_a_batch_is_written_as_a_whole_or_not_at_all(pool: Pool) -> None:
    """One event that cannot be stored takes the batch back; the persister then finds it."""
    good, bad = History(), History()
    good.appended("fine")
    poison = bad.appended("x").model_copy(update={"bodies": (body("nul \0", "in the id"),)})
    with pytest.raises(Exception, match="0x00"):
        await BatchWriter(pool).write(recorded([*good.events, poison]))
    assert (await rows_of(pool))["conversations"] == []


async def test_a_time_that_is_none_is_refused(pool: Pool) -> None:
    """A conversation's creation time must be one."""
    created = History().created()
    odd = created.model_copy(update={"state": type(created.state)("t", None, b"{}", "yesterday")})
    with pytest.raises(Unstorable, match="created_at"):
        await BatchWriter(pool).write(recorded([odd]))


async def test_committed_positions_only_go_up(pool: Pool) -> None:
    """The highest position of each partition is kept, compared as positions and not as text."""

    async def write(partition: int, position: str) -> None:
        await BatchWriter(pool).write([Recorded(partition, Position(position), logged("q"))])

    for partition, position in [(0, "9-5"), (0, "10-0"), (0, "10-3"), (0, "10-2"), (0, "9-9"), (3, "1-1")]:
        await write(partition, position)
    rows = await pool.fetch("SELECT partition, position_ms, position_seq FROM committed_positions ORDER BY 1")
    assert [tuple(row) for row in rows] == [(0, 10, 3), (3, 1, 1)]


async def test_two_users_may_use_one_conversation_id(pool: Pool) -> None:
    """They never meet: neither sees or changes what the other has."""
    alice = History()
    bob = History(UserId("bob"), alice.conversation)
    alice.appended("from alice")
    bob.appended("from bob")
    bob.deleted()
    await BatchWriter(pool).write(recorded([*alice.events, *bob.events]))
    assert len((await load(pool, alice)).messages) == 1
    assert (await load(pool, bob)).header.deleted

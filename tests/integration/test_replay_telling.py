"""The record told on a log: an empty instance gets its rows of it, a full one nothing that it has not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from common.domain.errors import ConversationNotFound, Overloaded
from common.domain.events import ConversationDeleted
from common.domain.ids import ConversationId, UserId
from common.domain.messages import numbered
from common.postgres.migrations import migrate
from common.postgres.pool import Pool
from common.redis.client import RedisClient
from common.redis.pressure import Bounds, Pressure
from common.settings import Settings
from tests.persisters import dead_letters, running_persister
from tests.record import History, pool_of
from tests.redis_parts import ALICE, NOW
from tests.replays import BOB, CAROL, all_rows, replayed
from tests.stage import Stage, stage
from tests.telling import all_settled, cached, instance, length, onto, quick, read, record_of, stored_history
from tests.verifying import parts_of, verify
from tools.errors import CommandError
from tools.replay import to_stream
from tools.replay.checkpoint import Checkpoint
from tools.replay.elsewhere import other_redis
from tools.replay.page import Item

Change = Callable[[Stage, ConversationId], Awaitable[object]]


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(quick(settings)) as made:
        yield made


@asynccontextmanager
async def another(scene: Stage, database: str) -> AsyncGenerator[tuple[Settings, RedisClient, Pool]]:
    """An instance with nothing in it, on an empty Redis and an empty database."""
    await migrate(database)
    there = instance(scene.settings, redis=scene.settings.redis.dsn.rstrip("/") + "/1", postgres=database)
    client = RedisClient(there.redis.dsn)
    try:
        async with pool_of(there) as pool:
            yield there, client, pool
    finally:
        await client.aclose()


async def test_an_empty_log_gets_what_makes_the_same_rows(scene: Stage, empty_postgres_dsn: str) -> None:
    """Every table and column, by its own persister; told twice, told once. All of it is acknowledged, and
    nothing of it shows as pending."""
    await stored_history(scene)
    expected = await all_rows(scene.pool)
    async with (
        another(scene, empty_postgres_dsn) as (there, client, pool),
        running_persister(there),
    ):
        for times in (1, 2):
            tally, said = await replayed(record_of(scene), onto(scene, client))
            assert (tally.refused, said) == (0, [])
            await all_settled(scene, client)
            assert await length(scene, client) == times * tally.applied
            assert await all_rows(pool) == expected
        assert await dead_letters(scene.redis) == []
        assert await client.call("KEYS", "*pending") == []


async def test_a_full_database_and_its_caches_do_not_notice(scene: Stage) -> None:
    """Not a byte of a row, a header, a list or a counter; what comes next has the next number."""
    await stored_history(scene)
    kept = await scene.conversation(messages=5)
    gone = await scene.conversation(messages=2)
    async with running_persister(scene.settings):
        await scene.parts.publisher.delete(ALICE, gone, at_ms=NOW + 1)
        await all_settled(scene)
        await scene.numbers(kept)
        await scene.parts.listing.page(ALICE, page=1, page_size=10)
        before = await all_rows(scene.pool), await cached(scene.redis.client)
        for _ in range(2):
            tally, _ = await replayed(record_of(scene), onto(scene))
            assert tally.applied > 0
            await all_settled(scene)
            assert (await all_rows(scene.pool), await cached(scene.redis.client)) == before
        await scene.append(kept, "the next")
        assert await scene.numbers(kept) == [0, 1, 2, 3, 4, 5]
        with pytest.raises(ConversationNotFound):
            await scene.numbers(gone)
        await all_settled(scene)
    assert (await verify(parts_of(scene))).found == {}


async def test_what_was_published_is_told_without_anything_more(scene: Stage) -> None:
    """A creation and an append for each append; of a deleted conversation first that it is deleted."""
    kept = await scene.conversation(messages=2)
    gone = await scene.conversation(messages=2)
    async with running_persister(scene.settings):
        await scene.parts.publisher.delete(ALICE, gone, at_ms=NOW)
        await all_settled(scene)
    told = [item.event for item in await read(record_of(scene)) if item.event is not None]
    kinds = [event.type for event in told if event.conversation_id == kept]
    assert kinds == ["conversation.created", "messages.appended", "messages.appended"]
    assert isinstance(next(e for e in told if e.conversation_id == gone), ConversationDeleted)


async def append(scene: Stage, conversation: ConversationId) -> None:
    await scene.append(conversation, "meanwhile")


async def rename(scene: Stage, conversation: ConversationId) -> None:
    await scene.parts.publisher.update(ALICE, conversation, at_ms=NOW + 1, title="Renamed")


async def delete(scene: Stage, conversation: ConversationId) -> None:
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW + 1)


@pytest.mark.parametrize(
    ("change", "after"), [(append, ("A title", 4)), (rename, ("Renamed", 3)), (delete, (None, 0))]
)
@pytest.mark.parametrize("committed", [True, False])
async def test_what_happens_between_reading_and_telling_stays(
    scene: Stage, change: Change, after: tuple[str | None, int], *, committed: bool
) -> None:
    """What is told is older than what users did meanwhile, in PostgreSQL already or on its way."""
    conversation = await scene.conversation(messages=3)
    async with running_persister(scene.settings):
        await all_settled(scene)
    stale = await read(record_of(scene))
    await change(scene, conversation)
    if committed:
        async with running_persister(scene.settings):
            await all_settled(scene)
    shown = await cached(scene.redis.client)
    await onto(scene).apply(stale)
    assert await cached(scene.redis.client) == shown
    async with running_persister(scene.settings):
        await all_settled(scene)
    rows = await all_rows(scene.pool)
    [row] = rows["conversations"]
    assert (row["title"], row["message_count"]) == after
    assert len(rows["messages"]) == row["message_count"]
    assert (await verify(parts_of(scene))).found == {}


async def test_users_go_on_while_the_record_is_told(scene: Stage) -> None:
    """Appends, new conversations and deletes, again and again; afterwards Redis and PostgreSQL agree."""
    await stored_history(scene)
    users = [UserId(f"user {i}") for i in range(6)]

    async def use(user: UserId) -> dict[ConversationId, int]:
        made: dict[ConversationId, int] = {}
        for i in range(8):
            conversation = await scene.conversation(messages=2, user=user)
            made[conversation] = 2
            for alive in [name for name, messages in made.items() if messages][-3:]:
                await scene.append(alive, f"more {i}", user)
                made[alive] += 1
            if i % 3 == 2:
                await scene.parts.publisher.delete(user, conversation, at_ms=NOW + i)
                made[conversation] = 0
        return made

    async with running_persister(scene.settings):
        using = asyncio.gather(*(use(user) for user in users))
        rounds = 0
        while not using.done() or not rounds:
            await replayed(record_of(scene), onto(scene))
            rounds += 1
        found = await using
        await all_settled(scene)
        for user, made in zip(users, found, strict=True):
            for conversation, messages in made.items():
                if messages:
                    assert await scene.numbers(conversation, user=user) == list(range(messages))
                else:
                    with pytest.raises(ConversationNotFound):
                        await scene.numbers(conversation, user=user)
    assert await dead_letters(scene.redis) == []
    assert (await verify(parts_of(scene))).found == {}


async def test_half_of_the_backlog_is_left_to_users(scene: Stage, tmp_path: Path) -> None:
    """A log that is half full takes no more of a record, but takes an append; it goes on where it stopped."""
    await stored_history(scene)
    conversation = await scene.conversation()
    before = await all_rows(scene.pool)
    await Pressure(scene.redis.functions, scene.redis.keys, Bounds(max_events=40)).set_bounds()
    noted = Checkpoint(tmp_path / "c.json", "this")
    with pytest.raises(CommandError, match="half as far behind"):
        await replayed(record_of(scene), onto(scene), noted, patience_seconds=0)
    for partition in range(scene.redis.keys.partitions):
        assert await scene.redis.client.call("XLEN", scene.redis.keys.events(partition)) < 40
    await scene.append(conversation, "a user's")
    assert await scene.numbers(conversation) == [0]
    async with running_persister(scene.settings):
        _, said = await replayed(record_of(scene), onto(scene), noted)
        await all_settled(scene)
    assert "going on after" in said[0]
    after = await all_rows(scene.pool)
    assert [row for row in after["conversations"] if row["user_id"] != ALICE] == before["conversations"]


async def test_what_was_told_is_not_told_again_because_the_rest_has_to_wait(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a log that is full would be filled with the beginning of a batch."""
    await stored_history(scene)
    monkeypatch.setattr(to_stream, "_AT_ONCE", 5)
    await Pressure(scene.redis.functions, scene.redis.keys, Bounds(max_events=40)).set_bounds()
    some = (await read(record_of(scene, user=CAROL)))[:5]
    items = [*some, *await read(record_of(scene, user=BOB))]
    assert len(items) > 25
    assert items[0].partition != items[-1].partition
    target = onto(scene)
    for _ in range(3):
        with pytest.raises(Overloaded):
            await target.apply(items)
        assert await length(scene) == 25


async def test_what_is_told_at_once_is_bounded_in_bytes_whatever_is_told(scene: Stage) -> None:
    """One call holds everybody else up: large edits are as large as large messages."""
    edit = History().edited(0, "x" * 100_000)
    items = [Item(scene.redis.keys.partition(ALICE), edit, ()) for _ in range(60)]
    await Pressure(scene.redis.functions, scene.redis.keys, Bounds(max_events=40)).set_bounds()
    with pytest.raises(Overloaded):
        await onto(scene).apply(items)
    assert await length(scene) == 20, "two calls of ten, and no third"


async def test_a_log_that_was_not_inspected_since_its_restart_is_not_written_to(
    scene: Stage, redis_url: str
) -> None:
    """What we write would hide that it came back older. One that nobody ever used may be written to."""
    lost = instance(scene.settings, redis="redis://127.0.0.1:1", postgres=scene.settings.postgres.dsn)
    async with AsyncExitStack() as stack:
        await other_redis(stack, lost, redis_url)
        await scene.redis.client.call("HSET", scene.redis.keys.log(3), "run_id", "an earlier run")
        with pytest.raises(CommandError, match="start its persister"):
            await other_redis(stack, lost, redis_url)
    async with running_persister(scene.settings), AsyncExitStack() as stack:
        await scene.conversation()
        await all_settled(scene)
        await other_redis(stack, lost, redis_url)


async def test_a_list_that_is_read_while_the_record_is_told_is_whole(scene: Stage) -> None:
    """Cold, with what was told still unread on the log: PostgreSQL has it, so nothing is missing."""
    conversation = await scene.conversation(messages=3)
    async with running_persister(scene.settings):
        await all_settled(scene)
    await scene.drop_caches()
    await replayed(record_of(scene), onto(scene))
    found = await scene.parts.history.recent(ALICE, conversation, 50)
    assert [numbered(m).sequence_number for m in found] == [0, 1, 2]
    await scene.append(conversation, "next")
    assert await scene.numbers(conversation) == [0, 1, 2, 3]

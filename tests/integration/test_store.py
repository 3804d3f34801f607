"""Reads of the record: exact, one user's only, and along an index however much there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_core import from_json

from common.domain.errors import StoreUnavailable
from common.domain.ids import ConversationId, MessageId, UserId
from common.domain.paging import Window
from common.postgres.log_identity import claim_partitions
from common.postgres.pool import Pool, open_pool
from common.postgres.queries import statement
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.record import ALICE, NOW, History, pool_of, recorded
from tests.waiting import wait_until

BOB = UserId("bob")
NUMBERS = range(30)


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


@pytest.fixture
async def history(pool: Pool) -> History:
    """Alice's conversation of 30 messages, number 7 deleted; Bob has one with the same id."""
    history = History()
    history.created()
    history.appended(*(f"text {i}" for i in NUMBERS))
    history.removed(7)
    other = History(BOB, history.conversation)
    other.appended("bob's")
    await BatchWriter(pool).write(recorded([*history.events, *other.events]))
    return history


async def test_a_window_lies_between_two_numbers(pool: Pool, history: History) -> None:
    """Both are exclusive; the first or the last messages of it, always ascending."""

    async def numbers(window: Window) -> list[int]:
        found = await Store(pool).window(ALICE, history.conversation, window, excluding=[9])
        return [m.sequence_number for m in found]

    assert await numbers(Window(4, after=5)) == [6, 8, 10, 11]
    assert await numbers(Window(4, before=12)) == [6, 8, 10, 11]
    assert await numbers(Window(99, after=5, before=11)) == [6, 8, 10]
    assert await numbers(Window(2)) == [28, 29]
    assert await numbers(Window(2, after=2**70)) == []


async def test_a_slice_counts_from_either_end(pool: Pool, history: History) -> None:
    """Gaps and left-out numbers do not count."""
    store = Store(pool)
    forward = await store.slice(ALICE, history.conversation, offset=6, limit=3, excluding=[8])
    assert [m.sequence_number for m in forward] == [6, 9, 10]
    backward = await store.slice(ALICE, history.conversation, offset=1, limit=2, descending=True)
    assert [m.sequence_number for m in backward] == [28, 27]


async def test_messages_are_counted_without_those_left_out(pool: Pool, history: History) -> None:
    """Numbers that are not there are not subtracted."""
    count = Store(pool).count_messages
    assert await count(ALICE, history.conversation) == 29
    assert await count(ALICE, history.conversation, excluding=[0, 7, 1000]) == 28
    assert await count(ALICE, ConversationId("00000000-0000-0000-0000-000000000000")) == 0


async def test_messages_are_found_by_their_ids(pool: Pool, history: History) -> None:
    """Those that are there, and those that were; the others are left out."""
    by_id = await Store(pool).messages_by_id(
        ALICE, history.conversation, [MessageId("m3"), MessageId("m7"), MessageId("no")]
    )
    found = by_id.found
    assert by_id.removed == {"m7"}
    assert {name: m.sequence_number for name, m in found.items()} == {"m3": 3}
    assert from_json(found[MessageId("m3")].body)["content"] == "text 3"


async def test_nobody_sees_what_is_anothers(pool: Pool, history: History) -> None:
    """The same id is another conversation for another user, and none for a third."""
    loaded = await Store(pool).load(BOB, history.conversation, 10)
    assert loaded is not None
    assert [from_json(m.body)["content"] for m in loaded.messages] == ["bob's"]
    assert await Store(pool).load(UserId("carol"), history.conversation, 10) is None


async def test_conversations_are_listed_last_modified_first(pool: Pool) -> None:
    """Equal times are told apart by the id; pages do not overlap; deleted ones are gone."""
    histories = [
        History(conversation=ConversationId(f"00000000-0000-0000-0000-00000000000{i}")) for i in range(6)
    ]
    for history in histories:
        history.created()
    histories[2].updated("later")
    histories[4].deleted()
    await BatchWriter(pool).write(recorded(event for history in histories for event in history.events))
    store = Store(pool)
    order = [2, 5, 3, 1, 0]

    def names(headers: Any) -> list[int]:
        return [int(header.id[-1]) for header in headers]

    assert names(await store.conversations(ALICE, limit=10)) == order
    first = await store.conversations(ALICE, limit=2)
    assert names(first) == order[:2]
    assert names(await store.conversations(ALICE, limit=10, before=first[-1].order)) == order[2:]
    assert names(await store.conversations(ALICE, limit=2, offset=3)) == order[3:]
    excluding = [histories[3].conversation]
    assert names(await store.conversations(ALICE, limit=9, excluding=excluding)) == [2, 5, 1, 0]
    assert names(await store.conversations(ALICE, limit=9, since_ms=NOW + 2)) == [2]
    assert await store.count_conversations(ALICE) == 5
    assert await store.count_conversations(ALICE, since_ms=NOW + 2, excluding=excluding) == 1


async def test_a_database_that_is_away_is_an_outage(settings: Settings) -> None:
    """A pool opens without it, and every read says so until it is back."""
    nowhere = settings.postgres.model_copy(update={"url": SecretStr("postgresql://x:y@127.0.0.1:1/z")})
    async with open_pool(nowhere, application_name="test") as pool:
        with pytest.raises(StoreUnavailable, match="ConnectionRefusedError"):
            await Store(pool).ping()


async def test_a_slow_statement_is_an_outage(settings: Settings, history: History) -> None:
    """It ends after the time that one may take."""
    hasty = settings.postgres.model_copy(update={"statement_timeout_seconds": 0.1})
    async with (
        open_pool(hasty, application_name="test") as pool,
        pool_of(settings) as other,
        other.acquire() as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="QueryCanceledError 57014"):
            await Store(pool).count_messages(ALICE, history.conversation)


async def test_who_stands_still_inside_a_transaction_lets_go_of_its_locks(
    settings: Settings, history: History
) -> None:
    """A frozen persister would keep whoever takes over from it waiting."""
    hasty = settings.postgres.model_copy(update={"statement_timeout_seconds": 0.1})
    async with (
        open_pool(hasty, application_name="frozen") as pool,
        pool_of(settings) as other,
        pool.acquire() as frozen,
    ):
        await frozen.execute("BEGIN")
        await frozen.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")

        async def is_gone() -> bool:
            who = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'frozen'"
            return await other.fetchval(who)

        await wait_until(is_gone)
        assert await Store(other).count_messages(ALICE, history.conversation) >= 0


async def test_a_pool_without_a_free_connection_is_an_outage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader waits for a connection only so long."""
    monkeypatch.setattr("common.postgres.store.ACQUIRE_TIMEOUT_SECONDS", 0.05)
    small = settings.postgres.model_copy(update={"pool_max_size": 1})
    async with open_pool(small, application_name="test") as pool, pool.acquire():
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await Store(pool).ping()


async def test_one_database_records_one_log(pool: Pool) -> None:
    """Services that start together agree; another partition count is refused."""
    await asyncio.gather(*(claim_partitions(pool, 8) for _ in range(5)))
    with pytest.raises(Exception, match="REDIS_PARTITIONS=8"):
        await claim_partitions(pool, 16)


PLANS = {
    "load_conversation": [ALICE, None, 50],
    "window_first": [ALICE, None, 100, 2**62, 20, []],
    "window_last": [ALICE, None, -1, 400, 20, [399, 398]],
    "slice_ascending": [ALICE, None, 10, 20, []],
    "slice_descending": [ALICE, None, 10, 20, []],
    "count_messages": [ALICE, None, [1, 2]],
    "messages_by_id": [ALICE, None, ["m3", "m4"]],
    "count_after": [ALICE, None, 2900, [2950]],
    "recorded_messages": [ALICE, None, [3, 4], ["m3", "m4"]],
    "conversations": [ALICE, 2**62, "ffffffff-ffff-ffff-ffff-ffffffffffff", 0, [], 0, 20],
    "count_conversations": [ALICE, NOW, []],
    # Of the writer's statements, those that look for what is there.
    "edit_messages": [
        [ALICE],
        [None],
        ["m5"],
        ["r"],
        [datetime.now(UTC)],
        [1],
        [1.0],
        ["m"],
        [b"{}"],
        [9],
        [""],
    ],
    "newest_messages": [[ALICE], [None], [2**62], 20],
    # Of those that change conversations where there is no log.
    "lock_conversation": [ALICE, None],
    "remembered_key": [ALICE, "digest"],
}


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
async def test_hot_queries_follow_an_index(settings: Settings, generic: bool) -> None:
    """No table is read through and nothing is sorted, with or without the planner seeing the values."""
    async with open_pool(settings.postgres, application_name="test") as pool:
        conversation = await _many_rows(pool)
        async with pool.acquire() as connection:
            mode = "force_generic_plan" if generic else "force_custom_plan"
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for name, arguments in PLANS.items():
                values = [_filled(value, conversation) for value in arguments]
                plan: str = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement(name)}", *values)
                nodes = [node["Node Type"] for node in _nodes(from_json(plan)[0]["Plan"])]
                assert not {"Seq Scan", "Sort", "Incremental Sort"} & set(nodes), (name, nodes)


def _filled(value: Any, conversation: ConversationId) -> Any:
    return [conversation] if value == [None] else conversation if value is None else value


async def _many_rows(pool: Pool) -> ConversationId:
    """Enough conversations and messages, of enough users, that reading them through would be slow."""
    owners = [UserId(f"user-{i % 30}") for i in range(2000)] + [ALICE] * 50
    histories = [History(owner) for owner in owners]
    for history in histories:
        history.created()
        history.appended("a", "b", "c")
    long = History()
    long.appended(*map(str, range(3000)))
    await BatchWriter(pool).write(recorded(e for history in [*histories, long] for e in history.events))
    await pool.execute(
        "INSERT INTO idempotency_keys SELECT user_id, 'key-' || i, '', '{}', now()"
        " FROM users, generate_series(1, 100) AS i"
    )
    await pool.execute(
        "INSERT INTO removed_messages"
        " SELECT user_id, id, 'gone-' || i, 1000 + i FROM conversations, generate_series(1, 3) AS i"
    )
    await pool.execute(
        "INSERT INTO tombstones (user_id, conversation_id, version, from_sequence, to_sequence)"
        " SELECT user_id, id, 1000 + i, 1000 + i, 1000 + i FROM conversations, generate_series(1, 3) AS i"
    )
    await pool.execute("ANALYZE")
    return long.conversation


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


async def test_a_read_has_a_deadline_and_is_one_of_so_many(
    pool: Pool, history: History, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for a connection: none waits for long, and those over the bound not at all."""
    monkeypatch.setattr("common.postgres.store.MAX_UNDER_WAY", 20)
    store = Store(pool, deadline_seconds=0.3)
    async with pool_of(settings) as others, others.acquire() as locking, locking.transaction():
        await locking.execute("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE")
        reads = (store.count_messages(ALICE, history.conversation) for _ in range(21))
        failures = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(failure, StoreUnavailable) for failure in failures)
    reasons = [str(failure) for failure in failures]
    assert sum("too many reads" in reason for reason in reasons) == 1
    assert sum("in time" in reason for reason in reasons) == 20
    assert await Store(pool).count_messages(ALICE, history.conversation) == 29

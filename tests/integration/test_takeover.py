"""A persister that has fallen silent: what it holds is taken over, and what it has locked is let go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from common.domain.errors import LogUnavailable
from common.domain.ids import ConversationId
from common.postgres.pool import Pool
from common.postgres.standing import StandingSessions
from common.postgres.store import Store
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import GROUP
from common.redis.heartbeats import SILENT_SECONDS, Heartbeats, Reading
from common.settings import PersisterSettings, PostgresSettings, Settings
from services.persister.takeover import Takeover
from tests.cluster import redis_settings
from tests.persisters import running_persister, wait_settled
from tests.record import pool_of
from tests.redis_parts import ALICE, NOW, RedisParts, message, redis_parts
from tests.waiting import wait_until

PATIENT = PersisterSettings(block_ms=20, claim_min_idle_seconds=3600)
"""Claims only what has been let go."""


@pytest.fixture
async def redis(settings: Settings) -> AsyncGenerator[RedisParts]:
    async with redis_parts(settings.redis.dsn) as parts:
        yield parts


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def held_by(redis: RedisParts, consumer: str, *texts: str) -> ConversationId:
    """A conversation of `texts`, all of which `consumer` has read and not settled."""
    conversation = await redis.conversation()
    for text in texts:
        await redis.log.append(ALICE, conversation, [message(text)], at_ms=NOW)
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    await redis.group.read_new(redis.client, partition, consumer, count=100, block_ms=1)
    return conversation


async def heard_of(redis: RedisParts, name: str, *, seconds_ago: float) -> None:
    """Persister `name` said for the last time so long ago that it lives."""
    await Heartbeats(redis.functions, redis.keys).beat(Reading.PERSISTER, name)
    member = f"{Reading.PERSISTER} {name}"
    await redis.client.call("ZINCRBY", redis.keys.heartbeats(), int(-1000 * seconds_ago), member)


async def holders(redis: RedisParts) -> dict[str, int]:
    """How many entries of ALICE's partition each consumer holds."""
    events = redis.keys.events(redis.keys.partition(ALICE))
    _, _, _, found = await redis.client.call("XPENDING", events, GROUP)
    return {name.decode(): int(count) for name, count in found or ()}


def takeover(redis: RedisParts, claimed: list[int], consumer: str = "us") -> Takeover:
    """What looks after the others, for a persister called `consumer`."""
    heartbeats = Heartbeats(redis.functions, redis.keys)
    return Takeover(
        heartbeats, redis.group, claimed.append, partitions=8, idle_seconds=3600, consumer=consumer
    )


async def test_what_a_silent_persister_holds_is_committed_by_another(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """Long before the idle time of a claim is over."""
    conversation = await held_by(redis, "gone", "a", "b")
    await heard_of(redis, "gone", seconds_ago=SILENT_SECONDS)
    async with running_persister(settings.model_copy(update={"persister": PATIENT})):
        await wait_settled(redis)
    loaded = await Store(pool).load(ALICE, conversation, 10)
    assert loaded is not None
    assert len(loaded.messages) == 2


@pytest.mark.parametrize("seconds_ago", [0, SILENT_SECONDS / 2])
async def test_one_that_lives_keeps_what_it_holds(redis: RedisParts, seconds_ago: float) -> None:
    """However long it takes: a slow batch is no reason to write it twice."""
    await held_by(redis, "slow", "a")
    await heard_of(redis, "slow", seconds_ago=seconds_ago)
    claimed: list[int] = []
    await takeover(redis, claimed).look()
    pages = redis.group.claim_stale(redis.keys.partition(ALICE), "us", min_idle_ms=3_600_000, count=10)
    assert [page.entries async for page in pages] == [[]]
    assert claimed == []


async def test_one_that_was_never_heard_of_keeps_what_it_holds(redis: RedisParts) -> None:
    """It may be of a version that does not say that it lives: the idle time of a claim is for it."""
    await held_by(redis, "of an older version", "a")
    claimed: list[int] = []
    await takeover(redis, claimed).look()
    assert claimed == []


async def test_nobody_takes_over_from_itself(redis: RedisParts) -> None:
    """One that cannot say that it lives, and can do all else, goes on."""
    await held_by(redis, "us", "a")
    await heard_of(redis, "us", seconds_ago=60)
    claimed: list[int] = []
    await takeover(redis, claimed).look()
    assert claimed == []


async def test_it_is_looked_at_until_it_holds_nothing_and_again_when_it_was_back(redis: RedisParts) -> None:
    """The dead are remembered for an hour and cost nothing; one that falls silent twice counts twice."""
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    await heard_of(redis, "gone", seconds_ago=60)
    claimed: list[int] = []
    others = takeover(redis, claimed)
    await others.look()
    await held_by(redis, "gone", "read when it was back")
    await others.look()
    assert claimed == []
    await heard_of(redis, "gone", seconds_ago=0)
    await others.look()
    await heard_of(redis, "gone", seconds_ago=60)
    await others.look()
    await others.look()
    assert claimed == [partition, partition]


async def test_nobody_counts_as_silent_who_could_not_be_heard(
    settings: Settings, redis: RedisParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was away for longer than one may be silent, and answers before they have: they get the time to.
    Who says nothing then either is gone."""
    partition = redis.keys.partition(ALICE)
    await held_by(redis, "there all the time", "a")
    await heard_of(redis, "there all the time", seconds_ago=SILENT_SECONDS)
    claimed: list[int] = []
    impatient = connect(redis_settings(settings.redis.dsn), response_timeout=0.2)
    others = takeover(replace(redis, functions=Functions(impatient)), claimed)
    await redis.everywhere("CLIENT", "PAUSE", 600, "ALL")
    with pytest.raises(LogUnavailable):
        await others.look()
    await redis.client.call("EXISTS", redis.keys.heartbeats())  # answered when the pause is over
    await others.look()
    assert claimed == []
    monkeypatch.setattr("services.persister.takeover.HEARING_SECONDS", 0.0)
    await others.look()
    assert claimed == [partition]
    await impatient.aclose()


async def test_many_entries_are_let_go_and_those_that_are_gone_from_the_log_are_told(
    redis: RedisParts,
) -> None:
    """More than Lua hands to one command, and two whose payload somebody took off the log."""
    partition = redis.keys.partition(ALICE)
    events = redis.keys.events(partition)
    await redis.group.create(partition)
    added = await redis.client.call_together(*(("XADD", events, "*", "n", n) for n in range(2_500)))
    await redis.group.read_new(redis.client, partition, "gone", count=3_000, block_ms=1)
    await redis.client.call("XDEL", events, added[0], added[1_700])
    found = await redis.group.let_go(partition, ["gone", "nobody"], idle_ms=3_600_000)
    assert found.held == 2_498
    assert found.lost == [added[0].decode(), added[1_700].decode()]
    assert await holders(redis) == {"gone": 2_498}
    pages = redis.group.claim_stale(partition, "us", min_idle_ms=3_600_000, count=1_000)
    assert sum([len(page.entries) async for page in pages]) == 2_498


async def test_a_session_that_stands_still_inside_a_statement_is_ended(
    settings: Settings, pool: Pool
) -> None:
    """Between Parse and Bind no time-out of PostgreSQL strikes: without us its locks would stay."""
    standing = StandingSessions(pool, PostgresSettings(statement_timeout_seconds=0.2))
    stopped = await session(settings, "turnlog-persister")
    try:
        transaction = stopped.transaction()
        await transaction.start()
        await stopped.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        await stopped.prepare("SELECT 1")  # asyncpg now waits with the Bind until it is asked for
        assert await states(pool) == {"turnlog-persister": "active"}
        await wait_until(lambda: is_one(standing))
        await pool.fetch("SELECT 1 FROM users")
        assert await states(pool) == {}
    finally:
        stopped.terminate()


async def test_sessions_that_work_or_hold_nothing_are_not_ended(settings: Settings, pool: Pool) -> None:
    """A long statement has its own time-out; what is idle outside of a transaction locks nothing; and
    whoever is no service of ours takes the time that it needs."""
    standing = StandingSessions(pool, PostgresSettings(statement_timeout_seconds=0.1))
    idle = await session(settings, "turnlog-gateway")
    other = await session(settings, "somebody's console")
    try:
        await other.execute("BEGIN")
        await idle.execute("SELECT pg_sleep(0.2)")
        assert await states(pool) == {
            "turnlog-gateway": "idle",
            "somebody's console": "idle in transaction",
        }
        assert await standing.end() == 0
    finally:
        idle.terminate()
        other.terminate()


async def session(settings: Settings, name: str) -> asyncpg.Connection[asyncpg.Record]:
    """A session that calls itself `name`."""
    return await asyncpg.connect(settings.postgres.dsn, server_settings={"application_name": name})


async def states(pool: Pool) -> dict[str, Any]:
    """The sessions of this database that the pool does not have, by name."""
    rows = await pool.fetch(
        "SELECT application_name, state FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name <> 'test' AND backend_type = 'client backend'"
    )
    return {row["application_name"]: row["state"] for row in rows}


async def is_one(standing: StandingSessions) -> bool:
    """Whether one is ended now."""
    return await standing.end() == 1

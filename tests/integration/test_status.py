"""`turnlog status` on real servers, and what it is fed with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.domain.errors import LogUnavailable
from common.domain.ids import now_ms
from common.loading import CacheCounts
from common.postgres.figures import read_committed_positions, read_figures
from common.redis.heartbeats import REMEMBERED_MS, Heartbeats, Reading
from common.redis.stats import HOUR_MS, CacheStats
from common.reporting import report_counts
from common.settings import PostgresSettings, RedisSettings, Settings
from services.cache_builder.__main__ import main as serve_builder
from tests.e2e.commands import run
from tests.persisters import running_persister
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW
from tests.stage import Stage, stage
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.status.collect import collect
from tools.status.report import Service

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        yield made


async def test_the_log_from_append_to_commit(scene: Stage) -> None:
    """First on the log and not read, then read and not committed, then in PostgreSQL."""
    conversation = await scene.conversation(messages=3)
    partition = scene.redis.keys.partition(ALICE)

    redis = (await collect(scene.settings, NOBODY)).redis
    assert redis is not None
    one = redis.partitions[partition]
    assert (one.events, one.not_read, one.pending, one.committed_position) == (4, 4, 0, None)
    assert one.oldest_seconds is not None

    group = scene.redis.group
    await group.create(partition)
    await group.read_new(scene.redis.client, partition, "slow", count=3, block_ms=1)
    redis = (await collect(scene.settings, NOBODY)).redis
    assert redis is not None
    one = redis.partitions[partition]
    assert (one.events, one.not_read, one.pending) == (4, 1, 3)
    assert one.oldest_seconds is not None
    assert sum(p.events for p in redis.partitions) == 4

    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)


async def test_the_record_is_counted(scene: Stage) -> None:
    """Conversations that are deleted count, and are told apart."""
    await scene.conversation(messages=3)
    deleted = await scene.conversation(messages=2)
    await scene.parts.publisher.delete(ALICE, deleted, at_ms=NOW)
    await persist(scene)

    figures = await read_figures(scene.pool)
    assert (figures.users, figures.messages) == (1, 3)
    assert (figures.conversations, figures.deleted_conversations) == (2, 1)
    assert figures.database_bytes > 1_000_000
    [committed] = await read_committed_positions(scene.pool)
    status = await collect(scene.settings, NOBODY)
    assert status.redis is not None
    assert status.postgres is not None
    assert status.redis.partitions[committed.partition].committed_position == committed.position
    assert status.postgres.last_commit is not None


async def test_counts_of_all_gateways_come_together(scene: Stage) -> None:
    """Each adds what it counted since it last did, and the rest when it stops."""
    stats = CacheStats(scene.redis.client, scene.redis.keys)
    one, other = CacheCounts(hits=5, misses=1), CacheCounts(hits=2)
    reporting = [
        asyncio.create_task(report_counts(one, stats, every_seconds=0.01)),
        asyncio.create_task(report_counts(other, stats, every_seconds=60)),
    ]

    async def seen() -> tuple[int, int]:
        return await stats.since(now_ms() - HOUR_MS, until_ms=now_ms())

    async def reported() -> bool:
        return await seen() == (5, 1)

    # Not sooner: what is cancelled on its way is not counted again.
    await wait_until(reported)
    one.hits += 1
    for task in reporting:
        task.cancel()
    await asyncio.gather(*reporting, return_exceptions=True)
    assert await seen() == (8, 1)
    key = scene.redis.keys.stats(now_ms() // HOUR_MS)
    assert await scene.redis.client.call("TTL", key) > 24 * 3600


@pytest.mark.parametrize(("outcome_unknown", "left"), [(False, 3), (True, 0)])
async def test_counts_are_kept_while_redis_is_away(
    scene: Stage, monkeypatch: pytest.MonkeyPatch, outcome_unknown: bool, left: int
) -> None:
    """The next attempt adds them; not so where they may have been added already."""
    attempts = 0

    async def away(*_: object, **__: object) -> None:
        nonlocal attempts
        attempts += 1
        raise LogUnavailable("away", outcome_unknown=outcome_unknown)

    monkeypatch.setattr(CacheStats, "add", away)
    counts = CacheCounts(hits=3)
    stats = CacheStats(scene.redis.client, scene.redis.keys)
    reporting = asyncio.create_task(report_counts(counts, stats, every_seconds=0.01))
    await wait_until(lambda: attempts > 0)
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    assert counts.hits == left


async def test_an_old_hour_is_not_counted(scene: Stage) -> None:
    """The rate is of lately: what was good last week says nothing."""
    stats = CacheStats(scene.redis.client, scene.redis.keys)
    await stats.add(100, 0, at_ms=NOW - 2 * HOUR_MS)
    await stats.add(1, 3, at_ms=NOW)
    assert await stats.since(NOW - HOUR_MS, until_ms=NOW) == (1, 3)
    assert await stats.since(NOW - 24 * HOUR_MS, until_ms=NOW) == (101, 3)


async def services_of(scene: Stage) -> dict[str, Service]:
    """What `status` says of each service."""
    return {s.name: s for s in (await collect(scene.settings, NOBODY)).services}


async def is_up(scene: Stage, name: str) -> bool:
    """Whether it says that a service is up."""
    return (await services_of(scene))[name].up


async def test_a_persister_that_reads_is_up(scene: Stage) -> None:
    """One that has been silent is not, and says for how long; one that never was is not either."""
    services = await services_of(scene)
    assert [s.detail for s in services.values()] == [
        "not ready, or does not answer",
        "never seen",
        "never seen",
    ]

    async def persister() -> Service:
        return (await services_of(scene))["persister"]

    async with running_persister(scene.settings):
        await wait_until(lambda: is_up(scene, "persister"))
        assert (await persister()).detail == "1 reading"
        assert not (await services_of(scene))["cache-builder"].up
    heartbeats = scene.redis.keys.heartbeats()
    [name] = await scene.redis.client.call("ZRANGE", heartbeats, 0, -1)
    await scene.redis.client.call("ZINCRBY", heartbeats, -30_000, name)
    assert not (await persister()).up
    assert (await persister()).detail.startswith("silent for 3")
    assert 0 < await scene.redis.client.call("PTTL", heartbeats) <= REMEMBERED_MS


async def test_a_persister_with_nothing_to_do_is_heard_of(scene: Stage) -> None:
    """On Redis 7.0 a consumer that finds nothing leaves no trace; `turnlog drain` must know of it, too."""
    heartbeats = Heartbeats(scene.redis.functions, scene.redis.keys)
    assert not await heartbeats.is_alive(Reading.PERSISTER)
    beating = asyncio.create_task(heartbeats.keep_beating(Reading.PERSISTER, "idle", every_seconds=0.01))
    await wait_until(lambda: heartbeats.is_alive(Reading.PERSISTER))
    assert not await heartbeats.is_alive(Reading.CACHE_BUILDER)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_cache_builder_that_waits_is_up(scene: Stage) -> None:
    """It says so itself, though nobody asks it for anything."""
    stop = asyncio.Event()
    building = asyncio.create_task(serve_builder(scene.settings, stop))
    await wait_until(lambda: is_up(scene, "cache-builder"))
    stop.set()
    await building


async def test_what_is_away_hides_nothing_else(settings: Settings) -> None:
    """Each server's figures are shown without the other's, and the reason is said."""
    nowhere = f"127.0.0.1:{free_port()}"
    no_redis = settings.model_copy(update={"redis": RedisSettings(url=SecretStr(f"redis://{nowhere}"))})
    status = await collect(no_redis, NOBODY)
    assert status.redis is None
    assert status.postgres is not None
    assert any("Redis cannot be reached" in problem for problem in status.problems)

    url = SecretStr(f"postgresql://nobody@{nowhere}/none")
    no_record = settings.model_copy(update={"postgres": PostgresSettings(url=url)})
    status = await collect(no_record, NOBODY)
    assert status.redis is not None
    assert status.postgres is None
    assert any("PostgreSQL is not available" in problem for problem in status.problems)


async def test_weaker_servers_are_notes_and_no_problems(scene: Stage) -> None:
    """The tests' own PostgreSQL is as weak as can be: said with what it may lose, and nobody is alarmed."""
    status = await collect(scene.settings, NOBODY)
    assert any(note.startswith("postgres_fsync_off: a crash of the machine may") for note in status.notes)
    assert not any("postgres_fsync_off" in problem for problem in status.problems)


@pytest.mark.parametrize("options", [["--json"], ["--partitions"]])
def test_the_command_fails_where_something_is_down(
    settings: Settings, tmp_path: Path, options: list[str]
) -> None:
    """So that a script can tell; what is known is shown all the same."""
    own = {"REDIS_URL": settings.redis.dsn, "DATABASE_URL": settings.postgres.dsn, "GATEWAY_PORT": "1"}
    result = run("status", *options, "--data-dir", str(tmp_path), environment=own)
    assert result.returncode == 1, result.stderr
    if options == ["--json"]:
        status = json.loads(result.stdout)
        assert status["postgres"]["messages"] == 0
        assert len(status["redis"]["partitions"]) == 8
    else:
        assert "committed up to" in result.stdout

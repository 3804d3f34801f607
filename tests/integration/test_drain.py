"""`turnlog drain`: it ends well only when PostgreSQL has all, and says what is in the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator

import pytest

from common.redis.breaker import BreakerBoard
from common.redis.heartbeats import Heartbeats, Reading
from common.settings import Settings
from tests.e2e.commands import run
from tests.persisters import running_persister, wait_settled
from tests.poison import contents, impatient, publish
from tests.redis_parts import ALICE
from tests.stage import Stage, stage
from tests.waiting import wait_until
from tools.drain import Drain


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(impatient(settings)) as made:
        yield made


async def drain(scene: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the scene's servers."""
    own = {"REDIS_URL": scene.settings.redis.dsn, "DATABASE_URL": scene.settings.postgres.dsn}
    return await asyncio.to_thread(run, "drain", *arguments, "--data-dir", "/nonexistent", environment=own)


async def test_it_waits_until_postgresql_has_everything(scene: Stage) -> None:
    """Also for what was read by a persister that is not there any more."""
    published = await publish(scene.redis, 50, [])
    partition = scene.redis.keys.partition(ALICE)
    await scene.redis.group.create(partition)
    await scene.redis.group.read_new(scene.redis.client, partition, "killed", count=20, block_ms=1)
    draining = asyncio.create_task(drain(scene))
    async with running_persister(impatient(scene.settings, claim_min_idle_seconds=0.1)):
        drained = await draining
    assert (drained.returncode, drained.stderr) == (0, "")
    assert "nothing is pending" in drained.stdout
    assert await contents(scene.pool, published.conversation) == published.rows([])


async def test_an_empty_log_is_drained(scene: Stage) -> None:
    """There is nothing to wait for, with or without a persister."""
    drained = await drain(scene, "--json")
    assert drained.returncode == 0, drained.stderr
    assert json.loads(drained.stdout)["waiting"] == 0


async def test_without_a_persister_it_says_so(scene: Stage) -> None:
    """Nothing was written, so the status is not 0."""
    await publish(scene.redis, 5, [])
    drained = await drain(scene, "--timeout", "0.5")
    assert drained.returncode == 1
    assert "not drained: 6 events wait; no persister is reading the log" in drained.stderr


async def test_an_open_breaker_is_named(scene: Stage) -> None:
    """Its events wait, and the operator is told what for."""
    await publish(scene.redis, 30, range(30))
    board = BreakerBoard(scene.redis.client, scene.redis.keys)
    async with running_persister(scene.settings):

        async def is_open() -> bool:
            return await board.read() is not None

        await wait_until(is_open)
        drained = await drain(scene, "--timeout", "0.5")
    assert drained.returncode == 1
    assert "breaker is open" in drained.stderr


async def test_parked_events_have_a_status_of_their_own(scene: Stage) -> None:
    """Nothing is pending, but PostgreSQL does not have everything."""
    await publish(scene.redis, 30, {3})
    async with running_persister(scene.settings):
        await wait_settled(scene.redis)
    drained = await drain(scene)
    assert drained.returncode == 3
    assert "1 events are parked" in drained.stderr


async def test_while_new_events_come_it_is_not_drained(scene: Stage) -> None:
    """It says that what was there at the start is written, and what to stop."""
    await publish(scene.redis, 5, [])
    looked = asyncio.Event()

    class Watch:
        def left(self, events: int) -> None:
            looked.set()

    redis = scene.redis
    draining = asyncio.create_task(Drain(redis.client, redis.keys, redis.group, Watch()).run(1.0))
    await looked.wait()
    await Heartbeats(redis.functions, redis.keys).beat(Reading.PERSISTER, "by hand")
    await redis.persist_all()
    await publish(redis, 3, [])
    outcome = await draining
    assert (outcome.drained, outcome.settled_at_start, outcome.waiting) == (False, True, 4)
    assert outcome.reason is not None
    assert "new events keep coming" in outcome.reason

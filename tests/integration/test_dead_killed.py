"""`turnlog dead requeue` and `drop`, killed with -9 in the middle: every letter is in one place, or gone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from common.domain.ids import ConversationId, Position
from common.settings import Settings
from tests.e2e.commands import run
from tests.instances import turnlog
from tests.persisters import dead_letters, running_persister, wait_settled
from tests.poison import contents, impatient, mend, refuse_poison
from tests.redis_parts import ALICE
from tests.stage import Stage, stage
from tests.tripwire import Tripwire
from tests.waiting import wait_until
from tools.paths import ROOT

LETTERS: Final = 6
MIDDLE: Final = 3


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(impatient(settings, breaker_enabled=False)) as made:
        yield made


async def parked(scene: Stage) -> ConversationId:
    """A conversation with a message that is stored, and LETTERS that are parked."""
    await refuse_poison(scene.pool)
    conversation = await scene.conversation(messages=1)
    for i in range(LETTERS):
        await scene.append(conversation, f"poison {i}")
    async with running_persister(scene.settings):
        await wait_settled(scene.redis)
    assert len(await dead_letters(scene.redis)) == LETTERS
    await mend(scene.pool)
    return conversation


def servers(scene: Stage, redis: str | None = None) -> dict[str, str]:
    return {"REDIS_URL": redis or scene.settings.redis.dsn, "DATABASE_URL": scene.settings.postgres.dsn}


async def killed_at(scene: Stage, function: str, *arguments: str, carried_out: bool) -> None:
    """Run a command and kill it when it has sent its MIDDLE call of a function, done or not done."""
    url = urlsplit(scene.settings.redis.dsn)
    wire = Tripwire(url.port or 0, function, MIDDLE, carried_out=carried_out)
    await wire.start()
    through = scene.settings.redis.dsn.replace(f":{url.port}", f":{wire.port}")
    process = subprocess.Popen(
        turnlog(*arguments, "--data-dir", "/nonexistent"),
        env={**os.environ, "PYTHONPATH": str(ROOT), **servers(scene, through)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        async with asyncio.timeout(60):
            await wire.reached.wait()
        if carried_out:
            await wait_until(lambda: wire.bytes_held > 0, message="the reply that nobody gets")
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        await wire.close()


async def command(scene: Stage, *arguments: str) -> str:
    result = await asyncio.to_thread(
        run, *arguments, "--data-dir", "/nonexistent", environment=servers(scene)
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def said(fields: dict[bytes, bytes]) -> str:
    """What the message of an entry or a letter says."""
    return json.loads(fields[b"m0"])["content"]


async def log_after(scene: Stage, position: Position) -> list[dict[bytes, bytes]]:
    events = scene.redis.keys.events(scene.redis.keys.partition(ALICE))
    found: list[Any] = await scene.redis.client.call("XRANGE", events, f"({position}", "+")
    return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in found]


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_killed_requeue_loses_nothing_and_puts_nothing_back_twice(
    scene: Stage, *, carried_out: bool
) -> None:
    """Each event is among the letters or on the log, never both and never neither; the same command again
    does the rest, and every message is stored once, at its own number."""
    conversation = await parked(scene)
    end = await scene.redis.group.end(scene.redis.keys.partition(ALICE))
    assert end is not None
    await killed_at(scene, "turnlog_requeue", "dead", "requeue", "--all", carried_out=carried_out)

    places = [*await dead_letters(scene.redis), *await log_after(scene, end)]
    every = [f"poison {i}" for i in range(LETTERS)]
    assert Counter(map(said, places)) == Counter(every)
    seen = await scene.parts.history.recent(ALICE, conversation, 50)
    assert len(seen) == 1 + LETTERS - len(await dead_letters(scene.redis))

    async with running_persister(scene.settings):
        said_back = await command(scene, "dead", "requeue", "--all")
        await wait_settled(scene.redis)
    assert said_back == f"{LETTERS - MIDDLE + (not carried_out)} back on the log\n"
    assert Counter(map(said, await log_after(scene, end))) == Counter(every)
    assert await contents(scene.pool, conversation) == ["0", *every]
    assert await scene.numbers(conversation) == list(range(1 + LETTERS))
    header = await scene.parts.history.header(ALICE, conversation)
    assert (header.message_count, header.next_sequence_number) == (1 + LETTERS, 1 + LETTERS)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_killed_drop_has_dropped_whole_letters(scene: Stage, *, carried_out: bool) -> None:
    """A letter that is gone is known to be void, one that is not is a letter still; again, for the rest."""
    conversation = await parked(scene)
    before = {letter[b"dead_position"] for letter in await dead_letters(scene.redis)}
    arguments = ("dead", "drop", "--all", "--yes")
    await killed_at(scene, "turnlog_drop_letter", *arguments, carried_out=carried_out)
    left = {letter[b"dead_position"] for letter in await dead_letters(scene.redis)}
    void = scene.redis.keys.void(scene.redis.keys.partition(ALICE))
    assert set(await scene.redis.client.call("ZRANGE", void, 0, -1)) == before - left

    assert await command(scene, *arguments) == f"{len(left)} dropped\n"
    assert set(await scene.redis.client.call("ZRANGE", void, 0, -1)) == before
    await command(scene, "replay", "--from", "log", "--to", "record")
    assert await contents(scene.pool, conversation) == ["0"]
    await scene.append(conversation, "later")
    assert await scene.numbers(conversation) == [0, 1 + LETTERS]

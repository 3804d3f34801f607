"""`turnlog verify` as a command: its answers, and a run that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from common.domain.ids import UserId
from common.settings import Settings
from tests.e2e.commands import run
from tests.instances import turnlog
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW
from tests.stage import Stage, stage
from tests.verifying import parts_of, verify
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.paths import ROOT


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        yield made


def servers(settings: Settings, **others: str) -> dict[str, str]:
    """The variables by which a command finds the servers of a test."""
    return {"REDIS_URL": settings.redis.dsn, "DATABASE_URL": settings.postgres.dsn, **others}


def report(scene: Stage, tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command: its status, and its report."""
    environment = servers(scene.settings)
    result = run("verify", "--json", *options, "--data-dir", str(tmp_path), environment=environment)
    return result.returncode, json.loads(result.stdout)


async def test_its_status_says_what_is_left(scene: Stage, tmp_path: Path) -> None:
    """0 clean, 1 drift, 0 repaired; a report names places, never contents."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    assert report(scene, tmp_path)[0] == 0
    await scene.redis.client.call("RPOP", scene.redis.keys.messages(ALICE, conversation))

    status, said = report(scene, tmp_path)
    assert (status, said["found"], said["left"]) == (1, 1, 1)
    example = {"kind": "list.missing", "user": ALICE, "conversation": conversation, "number": 1}
    assert said["kinds"][0]["examples"] == [example]
    result = run("verify", "--data-dir", str(tmp_path), environment=servers(scene.settings))
    assert result.returncode == 1
    assert "list.missing" in result.stdout
    assert f"{ALICE} {conversation} #1" in result.stdout

    status, said = report(scene, tmp_path, "--repair")
    assert (status, said["found"], said["repaired"]) == (0, 1, 1)
    assert await scene.numbers(conversation) == [0, 1]


async def test_a_part_can_be_verified_alone(scene: Stage) -> None:
    """By user, by conversation, by partition, by time; the rest is not looked at."""
    keys = scene.redis.keys
    bob = next(
        user
        for user in (UserId(f"bob {i}") for i in range(100))
        if keys.partition(user) != keys.partition(ALICE)
    )
    ours, other = await scene.conversation(messages=1), await scene.conversation(messages=1)
    his = await scene.conversation(messages=1, user=bob)
    await persist(scene)
    await persist(scene, bob)
    for user, conversation in ((ALICE, ours), (ALICE, other), (bob, his)):
        await scene.redis.client.call("RPUSH", keys.messages(user, conversation), b"no message")
    parts = parts_of(scene)
    assert (await verify(parts)).drift == 3
    assert (await verify(parts, user=ALICE)).drift == 2
    assert (await verify(parts, user=ALICE, conversation=ours)).drift == 1
    assert (await verify(parts, partition=keys.partition(bob))).conversations == 1
    assert (await verify(parts, since_ms=NOW + 1)).drift == 0


@pytest.mark.parametrize("away", ["REDIS_URL", "DATABASE_URL"])
def test_a_server_that_is_away_is_said(settings: Settings, tmp_path: Path, away: str) -> None:
    """One line, and a status of its own: nothing was verified."""
    nowhere = f"127.0.0.1:{free_port()}"
    url = f"redis://{nowhere}" if away == "REDIS_URL" else f"postgresql://nobody@{nowhere}/none"
    result = run("verify", "--data-dir", str(tmp_path), environment=servers(settings, **{away: url}))
    assert result.returncode == 2, result.stderr
    assert ("Redis" if away == "REDIS_URL" else "PostgreSQL") in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--conversation", "0191e000-0000-7000-8000-000000000000"], "--user"),
        (["--user", "u", "--conversation", "7"], "UUID"),
        (["--partition", "8"], "below 8"),
        (["--since", "yesterday"], "RFC 3339"),
    ],
)
def test_a_wrong_option_is_said(settings: Settings, tmp_path: Path, options: list[str], said: str) -> None:
    """Before anything is looked at."""
    result = run("verify", *options, "--data-dir", str(tmp_path), environment=servers(settings))
    assert result.returncode == 2
    assert said in result.stderr


async def test_it_does_not_run_while_postgresql_has_the_say(scene: Stage, tmp_path: Path) -> None:
    """Redis is behind on purpose then: everything would look like drift."""
    await scene.pool.execute("UPDATE authority SET holder = 'record'")
    result = run("verify", "--data-dir", str(tmp_path), environment=servers(scene.settings))
    assert result.returncode == 2
    assert "PostgreSQL has the say" in result.stderr


async def test_a_run_that_was_killed_goes_on(scene: Stage, tmp_path: Path) -> None:
    """kill -9 in the middle: the same command finishes the rest, and reports the whole."""
    conversations = [await scene.conversation(messages=1) for _ in range(230)]
    await persist(scene)
    for conversation in conversations:
        await scene.redis.client.call("HSET", _header(scene, conversation), "count", 7)
    place = tmp_path / "place"
    options = ("verify", "--repair", "--json", "--checkpoint", str(place), "--data-dir", str(tmp_path))
    environment = {**os.environ, **servers(scene.settings), "PYTHONPATH": str(ROOT)}
    slow = subprocess.Popen(
        turnlog(*options, "--rate", "50"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    try:
        await wait_until(lambda: _verified(place) >= 200, timeout_seconds=40)
    finally:
        slow.send_signal(signal.SIGKILL)
        slow.communicate()
    before = _verified(place)
    assert 200 <= before < 230

    wrong = run(*(word for word in options if word != "--repair"), environment=environment)
    assert (wrong.returncode, "other options" in wrong.stderr) == (2, True)
    result = run(*options, environment=environment)
    said = json.loads(result.stdout)
    assert (result.returncode, said["conversations"], said["left"]) == (0, 230, 0)
    assert not place.exists()
    assert report(scene, tmp_path)[0] == 0


def _header(scene: Stage, conversation: Any) -> str:
    return scene.redis.keys.conversation(ALICE, conversation).header


def _verified(place: Path) -> int:
    return json.loads(place.read_text())["tally"]["conversations"] if place.exists() else 0

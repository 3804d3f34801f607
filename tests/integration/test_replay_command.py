"""`turnlog replay` as a real process: killed and resumed, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.domain.ids import Position, position_order
from common.postgres.figures import read_committed_positions
from common.postgres.migrations import migrate
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.e2e.commands import run
from tests.instances import turnlog
from tests.persisters import running_persister
from tests.record import NOW, pool_of
from tests.replays import ALICE, all_rows, put_on_log, put_poison, replayed, rich_history
from tests.stage import Stage, stage
from tests.telling import all_settled, instance, length, quick
from tests.waiting import wait_until
from tools.paths import ROOT
from tools.replay.from_log import LogSource
from tools.replay.selection import Selection
from tools.replay.targets import RecordTarget


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as made:
        placed = await put_on_log(made.redis.client, made.redis.keys, rich_history())
        await BatchWriter(made.pool).write(placed)
        yield made


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """The servers of the scene, as a command finds them."""
    return {
        "REDIS_URL": settings.redis.dsn,
        "DATABASE_URL": settings.postgres.dsn,
        "TURNLOG_DATA_DIR": str(tmp_path / "data"),
    }


async def _killed_in_the_middle(command: Sequence[str], noted: Path, *, environment: dict[str, str]) -> None:
    """Run a replay slowly, and kill it with -9 as soon as it has `noted` how far it came."""
    slow = subprocess.Popen(
        turnlog(*command, "--rate", "4"),
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        await wait_until(noted.exists, timeout_seconds=60)
    finally:
        slow.kill()
        await asyncio.to_thread(slow.wait)


async def test_killed_and_started_again_it_goes_on(
    scene: Stage, environment: dict[str, str], empty_postgres_dsn: str, settings: Settings, tmp_path: Path
) -> None:
    """With -9, in the middle: the second run begins where the first one stopped, and all rows are there."""
    await migrate(empty_postgres_dsn)
    noted = tmp_path / "replay.json"
    command = (
        *("replay", "--from", "log", "--to", "record", "--target-database-url", empty_postgres_dsn),
        *("--checkpoint", str(noted)),
    )
    await _killed_in_the_middle(command, noted, environment=environment)
    done = await asyncio.to_thread(run, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "going on after" in done.stderr
    assert f"read {len(rich_history())}," in done.stdout
    assert not noted.exists()
    there = settings.postgres.model_copy(update={"url": SecretStr(empty_postgres_dsn)})
    async with pool_of(settings.model_copy(update={"postgres": there})) as other:
        assert await all_rows(other) == await all_rows(scene.pool)
        assert await other.fetch("SELECT * FROM committed_positions") == []


async def test_a_killed_telling_of_the_record_goes_on(
    scene: Stage, environment: dict[str, str], empty_postgres_dsn: str, settings: Settings, tmp_path: Path
) -> None:
    """With -9, in the middle, for another instance, while our own Redis is gone for good. Its persister makes
    the same rows of what both runs have put on its log."""
    await migrate(empty_postgres_dsn)
    await scene.redis.client.call("FLUSHALL")
    there = instance(quick(settings), redis=settings.redis.dsn, postgres=empty_postgres_dsn)
    noted = tmp_path / "replay.json"
    gone = {**environment, "REDIS_URL": "redis://127.0.0.1:1"}
    command = ("replay", "--from", "record", "--to", "stream", "--target-redis-url", settings.redis.dsn)
    command += ("--checkpoint", str(noted))
    await _killed_in_the_middle(command, noted, environment=gone)
    tried = await asyncio.to_thread(run, *command, "--dry-run", environment=gone)
    assert (tried.returncode, noted.exists()) == (0, True), tried.stderr
    done = await asyncio.to_thread(run, *command, environment=gone)
    assert done.returncode == 0, done.stderr
    assert "going on after" in done.stderr
    async with running_persister(there), pool_of(there) as other:
        await all_settled(scene)
        assert await all_rows(other) == await all_rows(scene.pool)


async def test_the_record_is_told_on_its_own_log(scene: Stage, environment: dict[str, str]) -> None:
    """Where no other is named; not in a dry run. Its persister finds nothing to do."""
    before = await all_rows(scene.pool)
    entries = await length(scene)
    command = ("replay", "--from", "record", "--to", "stream", "--user", ALICE)
    tried = await asyncio.to_thread(run, *command, "--dry-run", environment=environment)
    assert (tried.returncode, await length(scene)) == (0, entries), tried.stderr
    async with running_persister(quick(scene.settings)):
        await all_settled(scene)
        done = await asyncio.to_thread(run, *command, environment=environment)
        assert done.returncode == 0, done.stderr
        assert await length(scene) > entries
        await all_settled(scene)
    assert await all_rows(scene.pool) == before


async def test_an_emptied_redis_gets_the_record_for_whoever_reads_the_log(
    scene: Stage, environment: dict[str, str], empty_postgres_dsn: str, settings: Settings
) -> None:
    """Our own, with nothing in it any more: at positions after all that were ever given. Our PostgreSQL does
    not notice, and another reader of the log can make the same rows of it."""
    async with running_persister(quick(scene.settings)):
        await all_settled(scene)
    before = await all_rows(scene.pool)
    given = await read_committed_positions(scene.pool)
    await scene.redis.client.call("FLUSHALL")
    command = ("replay", "--from", "record", "--to", "stream")
    done = await asyncio.to_thread(run, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    for committed in given:
        events = scene.redis.keys.events(committed.partition)
        [(first, _)] = await scene.redis.client.call("XRANGE", events, "-", "+", "COUNT", 1)
        assert position_order(Position(first.decode())) > position_order(committed.position)
    async with running_persister(quick(scene.settings)):
        await all_settled(scene)
    assert await all_rows(scene.pool) == before

    await migrate(empty_postgres_dsn)
    there = instance(settings, redis=settings.redis.dsn, postgres=empty_postgres_dsn)
    async with pool_of(there) as other:
        log = LogSource(scene.redis.client, scene.redis.keys, Selection())
        await replayed(log, RecordTarget(BatchWriter(other), positions=False))
        assert await all_rows(other) == before


async def test_poison_is_in_the_exit_status(scene: Stage, environment: dict[str, str]) -> None:
    """And in the summary; a whole replay over the full database otherwise changes nothing."""
    await put_poison(scene.redis.client, scene.redis.keys, ALICE, f"{NOW + 5000}-0")
    before = await all_rows(scene.pool)
    command = ("replay", "--from", "log", "--to", "record")
    done = await asyncio.to_thread(run, *command, environment=environment)
    assert done.returncode == 1
    assert f"position {NOW + 5000}-0" in done.stderr
    assert "refused 1" in done.stdout
    assert await all_rows(scene.pool) == before


async def test_a_reader_that_leaves_is_said_once(scene: Stage, environment: dict[str, str]) -> None:
    """As `head` does: one line, and nothing of the interpreter's own."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", '"$@" | true', "sh", *turnlog("replay", "--from", "log", "--to", "stdout")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.stderr.endswith("turnlog: nobody reads the output any more\n")
    assert "Exception" not in done.stderr


async def test_a_dry_run_says_that_it_was_one(scene: Stage, environment: dict[str, str]) -> None:
    """Nobody is to believe that anything was replayed."""
    command = ("replay", "--from", "log", "--to", "record", "--dry-run")
    done = await asyncio.to_thread(run, *command, environment=environment)
    assert done.returncode == 0, done.stderr
    assert f"dry run, nothing was changed: {len(rich_history())} events read" in done.stdout
    assert "replayed" not in done.stdout


REFUSED = [
    ("--from log --to stream", "needs --target-redis-url"),
    ("--from record --to record", "changes nothing"),
    ("--from log --to caches --target-database-url postgresql://x", "is for --to record"),
    ("--from log --to record --target-redis-url redis://x", "is for --to stream"),
    ("--from record --to stdout --first 1-0", "--first and --last are positions"),
    ("--from log --to stdout --last x", "--last must be a position"),
    ("--from log --to stdout --since yesterday", "--since must be"),
    ("--from log --to stdout --since 2026-02-01 --until 2026-01-01", "--since is later"),
    ("--from log --to stdout --conversation 7", "--conversation must be a UUID"),
]


def test_what_makes_no_sense_is_refused_with_one_line() -> None:
    """Before anything is connected to."""
    from typer.testing import CliRunner

    from tools.cli import app
    from tools.errors import CommandError

    for options, said in REFUSED:
        done = CliRunner().invoke(app, ["replay", *options.split()])
        assert isinstance(done.exception, CommandError), options
        assert said in str(done.exception)
        assert "\n" not in str(done.exception)


async def test_the_own_redis_is_no_other_log(scene: Stage, environment: dict[str, str]) -> None:
    """Whatever name it is given."""
    own = environment["REDIS_URL"].rstrip("/") + "/1"
    for source in ("log", "record"):
        done = await asyncio.to_thread(
            run,
            *("replay", "--from", source, "--to", "stream", "--target-redis-url", own),
            environment=environment,
        )
        assert (done.returncode, "own Redis" in done.stderr) == (1, True)


async def test_a_target_must_be_migrated(
    scene: Stage, environment: dict[str, str], empty_postgres_dsn: str
) -> None:
    """It is said how."""
    done = await asyncio.to_thread(
        run,
        *("replay", "--from", "record", "--to", "record", "--target-database-url", empty_postgres_dsn),
        environment=environment,
    )
    assert (done.returncode, "turnlog migrate" in done.stderr) == (1, True)

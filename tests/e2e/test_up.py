"""`turnlog up` as people use it: started, stopped, started again, and in each other's way."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from tests.instances import RunningUp, command_of, running_up, turnlog, wait_gone
from tools.paths import ROOT

pytestmark = pytest.mark.e2e


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.run(
        turnlog(*arguments), capture_output=True, text=True, check=False, timeout=60, env=variables, cwd="/"
    )


async def test_it_prints_one_line_when_it_is_ready(shared_data_dir: Path) -> None:
    """Standard output has one line, for programs; everything for people goes to standard error."""
    async with running_up(shared_data_dir) as up:
        assert up.output.read_text() == f"ready {up.url}\n"
        names = {
            "services.gateway",
            "services.persister",
            "services.cache_builder",
            "postgres",
            "valkey-server",
        }
        for name in names:
            assert up.find(name).is_running()
        assert up.stop() == 0
        assert up.output.read_text() == f"ready {up.url}\n"


async def test_data_survive_a_restart(shared_data_dir: Path) -> None:
    """What was in PostgreSQL and in Redis when `up` stopped is there when it runs again."""
    async with running_up(shared_data_dir) as up:
        await _write(up, "survivor")
    async with running_up(shared_data_dir) as up:
        assert await _read(up) == ("survivor", "survivor")


async def test_a_second_up_on_the_same_data_says_so(shared_data_dir: Path) -> None:
    """It names the running instance, changes nothing, and fails."""
    async with running_up(shared_data_dir) as up:
        second = run("up", "--data-dir", str(shared_data_dir), "--port", "0")
        assert second.returncode == 1
        assert second.stdout == ""
        assert f"already running on {shared_data_dir}: {up.url}, process {up.process.pid}" in second.stderr
        assert up.find("services.gateway").is_running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_everything(shared_data_dir: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal leave no process behind, and that is a success."""
    async with running_up(shared_data_dir) as up:
        processes = up.descendants()
        assert len(processes) >= 7
        assert up.stop(number) == 0
        await wait_gone(processes, timeout_seconds=2)


async def test_kill_9_of_up_leaves_no_orphan(shared_data_dir: Path) -> None:
    """No exit hook runs, yet every process notices and ends; the next `up` starts at once on the data."""
    async with running_up(shared_data_dir, "--workers", "2") as up:
        await _write(up, "before the kill")
        processes = up.descendants()
        up.process.kill()
        async with running_up(shared_data_dir) as next_up:
            assert await _read(next_up) == ("before the kill", "before the kill")
        await wait_gone(processes)


async def test_a_taken_port_is_an_error_before_anything_starts(data_dir: Path) -> None:
    """Nobody has to look for the reason in a log."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("up", "--data-dir", str(data_dir), "--port", str(port))
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr
    assert not (data_dir / "logs").exists()


async def test_own_servers_are_used_and_nothing_is_embedded(
    data_dir: Path, empty_postgres_dsn: str, redis_url: str
) -> None:
    """With REDIS_URL and DATABASE_URL, `up` migrates that database and starts the services only."""
    own = {"REDIS_URL": redis_url, "DATABASE_URL": empty_postgres_dsn}
    async with running_up(data_dir, environment=own) as up:
        commands = " ".join(command_of(process) for process in up.descendants())
        assert "services.gateway" in commands
        assert "tools.embedded.guard" not in commands
        connection = await asyncpg.connect(empty_postgres_dsn)
        try:
            assert await connection.fetchval("SELECT to_regclass('conversations') IS NOT NULL")
        finally:
            await connection.close()


def test_a_shared_mode_without_servers_says_what_is_missing(data_dir: Path) -> None:
    """Only the local modes embed servers: a production start must not fall back to an empty database."""
    result = run("up", "--data-dir", str(data_dir), environment={"CHAT_HISTORY_MODE": "redis"})
    assert result.returncode == 1
    assert "CHAT_HISTORY_MODE=redis needs DATABASE_URL and REDIS_URL" in result.stderr


async def test_other_commands_find_the_instance_by_its_data_directory(shared_data_dir: Path) -> None:
    """`--data-dir` is all that a command needs; without a running instance it says how to start one."""
    async with running_up(shared_data_dir):
        found = run("migrate", "--data-dir", str(shared_data_dir))
        assert (found.returncode, found.stdout) == (0, "the database is up to date\n")
    missed = run("migrate", "--data-dir", str(shared_data_dir))
    assert missed.returncode == 1
    assert f"no running instance at {shared_data_dir}; start one with ./turnlog up" in missed.stderr


async def _write(up: RunningUp, text: str) -> None:
    connection = await asyncpg.connect(up.instance.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS survivors (text text)")
    await connection.execute("TRUNCATE survivors")
    await connection.execute("INSERT INTO survivors VALUES ($1)", text)
    await connection.close()
    async with redis.asyncio.Redis.from_url(str(up.instance.redis_url)) as client:
        await client.set("survivor", text)


async def _read(up: RunningUp) -> tuple[object, object]:
    connection = await asyncpg.connect(up.instance.database_url)
    row = await connection.fetchval("SELECT text FROM survivors")
    await connection.close()
    async with redis.asyncio.Redis.from_url(str(up.instance.redis_url), decode_responses=True) as client:
        return row, await client.get("survivor")

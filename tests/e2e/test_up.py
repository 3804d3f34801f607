"""`turnlog up` as people use it: started, stopped, started again, and in each other's way."""

import signal
import socket
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from tests.e2e.commands import run
from tests.instances import RunningUp, command_of, running_up, wait_gone

pytestmark = pytest.mark.e2e


async def test_data_survive_a_restart(shared_data_dir: Path) -> None:
    """What was in PostgreSQL and in Redis is there when `up` runs again, and so is the token secret."""
    async with running_up(shared_data_dir) as up:
        await _write(up, "survivor")
    async with running_up(shared_data_dir) as next_up:
        assert await _read(next_up) == ("survivor", "survivor")
        assert next_up.instance.jwt_secret == up.instance.jwt_secret


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_everything(shared_data_dir: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal leave no process behind, and that is a success.

    Standard output had one line, for programs; what is for people went to standard error.
    """
    async with running_up(shared_data_dir) as up:
        processes = up.descendants()
        for service in ("gateway", "persister", "cache_builder"):
            assert up.find(f"services.{service}") in processes
        for server in ("bin/postgres", "valkey-server"):
            assert up.find(server) in processes
        assert up.stop(number) == 0
        await wait_gone(processes, timeout_seconds=2)
        assert up.output.read_text() == f"ready {up.url}\n"


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
        # The tests' own PostgreSQL is as weak as can be.
        assert "turnlog: note: postgres_fsync_off: a crash of the machine may" in up.messages.read_text()
        connection = await asyncpg.connect(empty_postgres_dsn)
        try:
            assert await connection.fetchval("SELECT to_regclass('conversations') IS NOT NULL")
        finally:
            await connection.close()


def test_a_shared_mode_without_servers_says_what_is_missing(data_dir: Path) -> None:
    """Only the local modes embed servers: a production start must not fall back to an empty database."""
    mode = {"CHAT_HISTORY_MODE": "redis"}
    result = run("up", "--data-dir", str(data_dir), "--port", "0", environment=mode)
    assert result.returncode == 1
    assert "CHAT_HISTORY_MODE=redis needs DATABASE_URL and REDIS_URL" in result.stderr


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

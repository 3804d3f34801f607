"""A process of the instance that dies is started again, in the same place, and somebody is told."""

import asyncpg
import psutil
import pytest
import redis.asyncio
import redis.exceptions

from tests.instances import RunningUp, command_of, wait_gone
from tests.waiting import wait_until
from tools.up.port import is_ready

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", ["gateway", "persister", "cache_builder"])
async def test_a_killed_service_comes_back(up: RunningUp, name: str) -> None:
    """It and its workers are gone, another is there, and standard error says so."""
    old = up.find(f"services.{name}")
    family = [old, *old.children(recursive=True)]
    old.kill()
    await wait_gone(family)
    await wait_until(lambda: _runs_anew(up, f"services.{name}", old))
    await wait_until(lambda: _gateway_is_ready(up))
    assert f"{name.replace('_', '-')} was killed by SIGKILL; it is started again" in up.messages.read_text()


@pytest.mark.parametrize("victim", ["server", "guard"])
async def test_a_killed_valkey_comes_back_with_its_data(up: RunningUp, victim: str) -> None:
    """On the same port and with every acknowledged write, whether the server or its guard was killed."""
    client = redis.asyncio.Redis.from_url(str(up.instance.redis_url))
    async with client:
        await client.set("kept", victim)
        old = up.find("valkey-server")
        _kill(old, victim)
        await wait_gone([old])

        async def answers() -> bool:
            try:
                return await client.get("kept") == victim.encode()
            except (redis.exceptions.RedisError, OSError):
                return False

        await wait_until(answers)
    await wait_until(lambda: _gateway_is_ready(up))
    assert "valkey" in up.messages.read_text()


@pytest.mark.parametrize("victim", ["server", "guard"])
async def test_a_killed_postgres_comes_back_with_its_data(up: RunningUp, victim: str) -> None:
    """On the same port and with every commit, whether the server or its guard was killed."""
    connection = await asyncpg.connect(up.instance.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (victim text)")
    await connection.execute("INSERT INTO kept VALUES ($1)", victim)
    old = up.find("bin/postgres -D")
    _kill(old, victim)
    await wait_gone([old])
    connection.terminate()

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(up.instance.database_url)
        except (OSError, asyncpg.PostgresError):
            return False
        found = await connection.fetchval("SELECT count(*) FROM kept WHERE victim = $1", victim)
        await connection.close()
        return found == 1

    await wait_until(answers, timeout_seconds=40)
    await wait_until(lambda: _gateway_is_ready(up))
    assert "postgres" in up.messages.read_text()


def _kill(server: psutil.Process, victim: str) -> None:
    target = server if victim == "server" else server.parent()
    assert target is not None
    target.kill()


def _runs_anew(up: RunningUp, part_of_command: str, old: psutil.Process) -> bool:
    running = [child for child in up.descendants() if part_of_command in command_of(child)]
    return bool(running) and old.pid not in [child.pid for child in running]


async def _gateway_is_ready(up: RunningUp) -> bool:
    return await is_ready("127.0.0.1", int(up.url.rpartition(":")[2]))

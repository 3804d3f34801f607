"""The gateway as processes: a parent that owns the socket, workers that serve, and how they end."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from common.settings import Settings
from tests.gateway_processes import COMMAND, environment, gateway_process
from tests.instances import wait_gone
from tests.waiting import wait_until


async def test_workers_share_one_port(settings: Settings, tmp_path: Path) -> None:
    """Two workers serve one conversation, whoever of them is asked."""
    with gateway_process(settings, tmp_path, GATEWAY_WORKERS="2") as gateway:
        await gateway.ready()
        await wait_until(lambda: len(gateway.workers()) == 2)
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            made = (await client.post("/api/conversations", json={})).json()
        path = f"/api/conversations/{made['conversation_id']}/messages"
        for n in range(10):
            # A connection of its own each time, so that both workers get some.
            async with httpx.AsyncClient(base_url=gateway.url) as client:
                assert (await client.post(path, json={"content": str(n)})).status_code == 201
                read = (await client.get(path)).json()["messages"]
                assert [message["content"] for message in read] == [str(i) for i in range(n + 1)]


async def test_workers_do_not_outlive_a_parent_that_was_killed(settings: Settings, tmp_path: Path) -> None:
    """Not even when it had no chance to tell them."""
    with gateway_process(settings, tmp_path, GATEWAY_WORKERS="2") as gateway:
        await gateway.ready()
        await wait_until(lambda: len(gateway.workers()) == 2)
        family = psutil.Process(gateway.process.pid).children(recursive=True)
        gateway.process.kill()
        gateway.process.wait(10)
        await wait_gone(family)


async def test_a_worker_that_dies_is_replaced(settings: Settings, tmp_path: Path) -> None:
    """And the gateway goes on."""
    with gateway_process(settings, tmp_path, GATEWAY_WORKERS="1") as gateway:
        await gateway.ready()
        [worker] = gateway.workers()
        worker.kill()
        await wait_until(lambda: any(w.pid != worker.pid for w in gateway.workers()))
        await gateway.ready()


async def test_asked_to_stop_it_answers_what_it_has_in_hand(settings: Settings, tmp_path: Path) -> None:
    """A request that waits for PostgreSQL gets its reply, then all processes end with status 0."""
    with gateway_process(settings, tmp_path, GATEWAY_PERSISTED_WAIT_SECONDS="1.5") as gateway:
        await gateway.ready()
        family = psutil.Process(gateway.process.pid).children(recursive=True)
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            url = "/api/conversations/messages?ack=persisted"
            waiting = asyncio.create_task(client.post(url, json={"content": "x"}))
            await wait_until(lambda: _appended(gateway.url))
            gateway.process.terminate()
            reply = await waiting
        assert reply.status_code == 202
        assert await asyncio.to_thread(gateway.process.wait, 15) == 0, gateway.log.read_text()
        await wait_gone(family)
        assert b"Traceback" not in gateway.log.read_bytes(), gateway.log.read_text()


async def _appended(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url) as client:
        return bool((await client.get("/api/conversations")).json()["conversations"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"JWT_SECRET": "short"}, "JWT_SECRET"),
        ({"GATEWAY_HOST": "0.0.0.0"}, "GATEWAY_ALLOW_PUBLIC_TEST_USER"),
        ({"CHAT_HISTORY_MODE": "redis", "JWT_SECRET": ""}, "JWT_SECRET"),
        ({"GATEWAY_PORT": "many"}, "GATEWAY_PORT"),
        ({"JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS"),
    ],
)
def test_an_unsafe_set_up_is_refused_in_one_line(
    settings: Settings, tmp_path: Path, change: dict[str, str], named: str
) -> None:
    """It names the variable, and never the secret."""
    ended = subprocess.run(
        COMMAND,
        cwd=tmp_path,
        env=environment(settings, **change),
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 2
    assert named in ended.stderr.decode()
    assert ended.stderr.count(b"\n") == 1


async def test_a_server_that_could_evict_the_log_is_refused(
    settings: Settings, tmp_path: Path, redis_url: str
) -> None:
    """The workers find out, the gateway ends, and the log says why."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with gateway_process(settings, tmp_path) as gateway:
                assert await asyncio.to_thread(gateway.process.wait, 30) != 0
                assert "maxmemory-policy" in gateway.log.read_text()
        finally:
            client.config_set("maxmemory-policy", "noeviction")

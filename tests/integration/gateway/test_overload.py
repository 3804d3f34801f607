"""More than the gateway, or what is behind it, can take: said at once, before anything is acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx

from common.domain.ids import new_conversation_id
from common.redis.client import RedisClient
from common.settings import Settings
from tests.gateways import RunningGateway, running_gateway
from tests.integration.gateway.conftest import URL
from tests.waiting import wait_until
from tools.status.collect import collect


def changed(settings: Settings, group: str, **values: Any) -> Settings:
    """`settings` with some of a group's values changed."""
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)})


async def test_a_backlog_over_its_bound_is_a_503_that_says_so(settings: Settings) -> None:
    """In the caller's terms, with a time; reads and deletes go on, and `turnlog status` says what it is."""
    small = changed(settings, "limits", backlog_max_events=3)
    async with running_gateway(small) as gateway, gateway.client() as client:
        made = (await client.post(URL, json={})).json()["conversation_id"]
        one = f"{URL}/{made}"
        await wait_until(lambda: _refused(client, f"{one}/messages"))
        for attempt in (
            client.post(f"{one}/messages", json={"role": "user", "content": "x"}),
            client.post(f"{URL}/messages", json={"role": "user", "content": "x"}),
            client.post(URL, json={}),
            client.patch(one, json={"title": "t"}),
        ):
            reply = await attempt
            assert reply.status_code == 503
            assert reply.headers["Retry-After"] == "2"
            assert reply.json()["detail"] == "The log is too far behind; nothing was stored"
        assert (await client.get(f"{one}/messages")).status_code == 200
        status = await collect(small, gateway.url)
        assert any("too many events wait" in problem for problem in status.problems)
        assert (await client.delete(one)).status_code == 204


async def _refused(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.post(path, json={"role": "user", "content": "x"})).status_code == 503


async def test_the_bound_on_memory_is_a_503_that_says_so(settings: Settings, redis_url: str) -> None:
    """Until there is room again."""
    redis = RedisClient(redis_url)
    tight = changed(settings, "redis", max_memory_bytes=1)
    async with running_gateway(tight) as gateway, gateway.client() as client:

        async def refused() -> bool:
            reply = await client.post(URL, json={})
            return reply.status_code == 503 and "short of memory" in reply.json()["detail"]

        await wait_until(refused)
    async with running_gateway(settings) as gateway, gateway.client() as client:

        async def taken() -> bool:
            return (await client.post(URL, json={})).status_code == 201

        await wait_until(taken)
        assert await asyncio.gather(*(taken() for _ in range(10))) == [True] * 10
    await redis.aclose()


async def test_more_requests_than_a_worker_takes_on_are_refused(settings: Settings) -> None:
    """At once, while it goes on with those that it has; a probe is always answered."""
    one_only = changed(settings, "gateway", max_requests=1)
    async with running_gateway(one_only) as gateway, gateway.client() as client:
        async with held_request(gateway) as finish:
            await wait_until(lambda: _refused(client, f"{URL}/messages"))
            reply = await client.get(URL)
            assert reply.status_code == 503
            assert reply.headers["Retry-After"] == "1"
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert reply.json()["detail"] == "Too many requests are in progress; nothing was stored"
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert b" 201 " in await finish()
        assert (await client.get(URL)).status_code == 200


async def test_more_bytes_of_bodies_than_a_worker_holds_are_refused(settings: Settings) -> None:
    """Counted by what is announced; small requests without a body go on, a large one alone does, too."""
    tight = changed(settings, "gateway", max_body_bytes=1024)
    async with running_gateway(tight) as gateway, gateway.client() as client:
        assert (await client.post(f"{URL}/messages", json=LARGE)).status_code == 201
        async with held_request(gateway) as finish:

            async def refused() -> bool:
                return (await client.post(f"{URL}/messages", json=LARGE)).status_code == 503

            await wait_until(refused)
            assert (await client.get(URL)).status_code == 200
            assert b" 201 " in await finish()
        assert (await client.post(f"{URL}/messages", json=LARGE)).status_code == 201


LARGE = {"role": "user", "content": "x" * 2000}


@asynccontextmanager
async def held_request(gateway: RunningGateway) -> AsyncGenerator[Callable[[], Awaitable[bytes]]]:
    """A request that is in progress until the given function finishes it, and gives the reply."""
    url = httpx.URL(gateway.url)
    body = json.dumps({"role": "user", "content": "slow"}).encode()
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {URL}/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])

    async def finish() -> bytes:
        writer.write(body[-1:])
        async with asyncio.timeout(10):
            return await reader.readline()

    try:
        yield finish
    finally:
        writer.close()


async def test_a_read_that_postgresql_does_not_answer_has_one_deadline(settings: Settings) -> None:
    """However many steps it would wait for, one after the other; and it can be made again after."""
    quick = changed(settings, "gateway", store_deadline_seconds=0.3, rebuild_wait_seconds=0.1)
    async with running_gateway(quick) as gateway, gateway.client() as client:
        path = f"{URL}/{new_conversation_id()}/messages"
        async with locked(settings):
            reply = await client.get(path)
            assert reply.status_code == 503
            assert reply.headers["Retry-After"]

        async def answered() -> bool:
            return (await client.get(path)).status_code == 404

        await wait_until(answered)


@asynccontextmanager
async def locked(settings: Settings) -> AsyncGenerator[None]:
    """PostgreSQL as it is for a reader when it is frozen: every statement on our tables waits."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE conversations, messages IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()

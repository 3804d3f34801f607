"""More than the gateway, or what is behind it, can take: said at once, before anything is acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from common.redis.client import RedisClient
from common.settings import Settings
from tests.gateways import running_gateway
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

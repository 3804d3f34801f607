"""An append with ack=persisted is acknowledged by the log: what goes away meanwhile makes no error of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from common.settings import PostgresSettings, Settings
from tests.chaos.proxy import Proxy
from tests.gateways import running_gateway
from tests.redis_parts import RedisParts, redis_parts
from tests.sessions import login_and_port
from tests.waiting import wait_until

PATH: Final = "/api/conversations/messages?ack=persisted"
BODY: Final = {"role": "user", "content": "x"}


@asynccontextmanager
async def linked_gateway(
    settings: Settings, server: str, wait_seconds: float
) -> AsyncGenerator[tuple[httpx.AsyncClient, Proxy]]:
    """A gateway that reaches `server` through a proxy, without a persister: it waits for what never comes."""
    login, port = login_and_port(settings)
    if server == "postgres":
        port = urlsplit(settings.postgres.dsn).port or 0
    link = Proxy(server, port)
    await link.start()
    changed: dict[str, Any] = {
        "gateway": settings.gateway.model_copy(update={"persisted_wait_seconds": wait_seconds})
    }
    if server == "redis":
        url = SecretStr(f"redis://{login}127.0.0.1:{link.port}/0")
        changed["redis"] = settings.redis.model_copy(update={"url": url})
    else:
        dsn = settings.postgres.dsn.replace(f":{port}/", f":{link.port}/")
        changed["postgres"] = PostgresSettings(url=SecretStr(dsn))
    try:
        async with (
            running_gateway(settings.model_copy(update=changed)) as gateway,
            gateway.client("carol") as client,
        ):
            yield client, link
    finally:
        await link.close()


async def on_the_log(redis: RedisParts) -> bool:
    """Whether anything is."""
    return any([await redis.group.end(number) for number in range(redis.keys.partitions)])


async def test_an_append_that_is_on_the_log_is_a_202_without_redis(settings: Settings) -> None:
    """Not 503, after which a client would send it again; and not only when the whole time is over."""
    async with (
        linked_gateway(settings, "redis", 600) as (client, link),
        redis_parts(settings.redis.dsn) as redis,
    ):
        waiting = asyncio.create_task(client.post(PATH, json=BODY))
        await wait_until(lambda: on_the_log(redis))
        assert not waiting.done()
        link.refuse()
        reply = await waiting
    assert reply.status_code == 202, reply.text
    assert reply.json()["persisted"] is False
    assert [message["sequence_number"] for message in reply.json()["messages"]] == [0]


async def test_an_append_that_is_on_the_log_is_a_202_without_postgresql(settings: Settings) -> None:
    """The wait ends by its time."""
    async with linked_gateway(settings, "postgres", 0.5) as (client, link):
        link.refuse()
        reply = await client.post(PATH, json=BODY)
    assert reply.status_code == 202, reply.text
    assert reply.json()["persisted"] is False

"""Gateways whose way to Redis is cut go on in PostgreSQL, and nothing shows but the pause."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from common.domain.ids import UserId
from common.settings import Settings
from tests.chaos.proxy import Proxy
from tests.gateways import running_gateway
from tests.persisters import running_persister, wait_settled
from tests.redis_parts import redis_parts
from tests.sessions import login_and_port
from tests.waiting import wait_until

URL = "/api/conversations"
USER = UserId("carol")


@dataclass
class Pair:
    """Two gateways of one instance, a user's client at each, and their links to Redis."""

    one: httpx.AsyncClient
    two: httpx.AsyncClient
    links: list[Proxy]

    def lose_redis(self) -> None:
        for link in self.links:
            link.refuse()

    def find_redis(self) -> None:
        for link in self.links:
            link.heal()

    async def can_append(self, conversation: str, *, position: bool) -> None:
        """Wait until an append is answered, by the log (with a position) or by the record (without)."""

        async def answered() -> bool:
            for client in (self.one, self.two):
                reply = await client.post(f"{URL}/{conversation}/messages", json=message("again"))
                if reply.status_code != 201 or bool(reply.json()["position"]) is not position:
                    return False
            return True

        await wait_until(answered, timeout_seconds=40, interval_seconds=0.2, message="an append")


@pytest.fixture
async def pair(settings: Settings) -> AsyncGenerator[Pair]:
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(_gateway(settings, name)) for name in ("one", "two")]
        yield Pair(opened[0][0], opened[1][0], [link for _, link in opened])


@asynccontextmanager
async def _gateway(settings: Settings, name: str) -> AsyncGenerator[tuple[httpx.AsyncClient, Proxy]]:
    login, port = login_and_port(settings)
    link = Proxy(name, port)
    await link.start()
    url = SecretStr(f"redis://{login}127.0.0.1:{link.port}/0")
    linked = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": url})})
    try:
        async with running_gateway(linked) as gateway, gateway.client(USER) as client:
            yield client, link
    finally:
        await link.close()


def message(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


async def contents(client: httpx.AsyncClient, conversation: str) -> list[str]:
    """What a reader sees, after a look at the numbers: without gap, from 0."""
    reply = await client.get(f"{URL}/{conversation}/messages", params={"limit": 100})
    assert reply.status_code == 200, reply.text
    messages = reply.json()["messages"]
    assert [m["sequence_number"] for m in messages] == list(range(len(messages)))
    return [m["content"] for m in messages]


async def begin(client: httpx.AsyncClient, content: str) -> str:
    """A new conversation with one message."""
    reply = await client.post(f"{URL}/messages", json=message(content))
    assert reply.status_code == 201, reply.text
    return reply.json()["conversation_id"]


async def test_reads_and_appends_go_on_without_redis_and_are_there_when_it_is_back(
    settings: Settings, pair: Pair
) -> None:
    """The same answers in the same order, through any gateway; and no cache of before is shown after."""
    async with running_persister(settings), redis_parts(settings.redis.dsn) as redis:
        kept, deleted = await begin(pair.one, "first"), await begin(pair.one, "to be deleted")
        assert await contents(pair.two, kept) == ["first"]
        await wait_settled(redis, USER)
        pair.lose_redis()
        await pair.can_append(kept, position=False)
        seen = await contents(pair.two, kept)
        assert seen[0] == "first"
        assert set(seen[1:]) == {"again"}
        assert await contents(pair.one, kept) == seen
        assert (await pair.one.get("/readyz")).status_code == 200
        new = await begin(pair.two, "born without Redis")
        assert (await pair.two.delete(f"{URL}/{deleted}")).status_code == 204
        assert await _listed(pair.one) == [new, kept]

        pair.find_redis()
        await pair.can_append(kept, position=True)
        after = await contents(pair.one, kept)
        assert after[: len(seen)] == seen
        assert await contents(pair.two, kept) == after
        assert await contents(pair.two, new) == ["born without Redis"]
        assert (await pair.one.get(f"{URL}/{deleted}")).status_code == 404
        assert set(await _listed(pair.two)) == {new, kept}
        await wait_settled(redis, USER)


async def test_a_conversation_whose_last_message_is_on_the_log_only_waits(
    settings: Settings, pair: Pair
) -> None:
    """It was acknowledged, so no answer may be without it; the user's other conversations go on."""
    async with redis_parts(settings.redis.dsn) as redis:
        async with running_persister(settings):
            waiting, settled = await begin(pair.one, "first"), await begin(pair.one, "first")
            await wait_settled(redis, USER)
        reply = await pair.two.post(f"{URL}/{waiting}/messages", json=message("on the log only"))
        assert reply.status_code == 201
        pair.lose_redis()
        await pair.can_append(settled, position=False)
        for client in (pair.one, pair.two):
            refused = await client.get(f"{URL}/{waiting}/messages")
            assert refused.status_code == 503
            assert refused.headers["Retry-After"]
            assert "answered when Redis is back" in refused.json()["detail"]
            assert (await client.post(f"{URL}/{waiting}/messages", json=message("no"))).status_code == 503
            no_list = await client.get(URL)
            assert no_list.status_code == 503
            assert "the other conversations are now" in no_list.json()["detail"]

        pair.find_redis()
        await pair.can_append(settled, position=True)
        assert await contents(pair.one, waiting) == ["first", "on the log only"]


async def test_a_key_that_was_used_on_the_log_is_known_in_the_record(settings: Settings, pair: Pair) -> None:
    """A client that never saw the first answer sends it again, to whichever store is in charge."""
    async with running_persister(settings), redis_parts(settings.redis.dsn) as redis:
        conversation = await begin(pair.one, "first")
        key = {"Idempotency-Key": "k-1"}
        path = f"{URL}/{conversation}/messages"
        first = await pair.one.post(path, json=message("once"), headers=key)
        await wait_settled(redis, USER)
        pair.lose_redis()
        await pair.can_append(conversation, position=False)
        again = await pair.two.post(path, json=message("once"), headers=key)
        assert again.json()["messages"] == first.json()["messages"]
        direct = await pair.two.post(path, json=message("twice"), headers={"Idempotency-Key": "k-2"})
        pair.find_redis()
        await pair.can_append(conversation, position=True)
        back = await pair.one.post(path, json=message("twice"), headers={"Idempotency-Key": "k-2"})
        assert back.json()["messages"] == direct.json()["messages"]


async def _listed(client: httpx.AsyncClient) -> list[str]:
    reply = await client.get(URL)
    assert reply.status_code == 200, reply.text
    return [row["conversation_id"] for row in reply.json()["conversations"]]

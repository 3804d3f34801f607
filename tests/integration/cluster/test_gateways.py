"""Two gateways on a cluster: what one acknowledged the other shows, and only whose data is away is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from common.assembly import keys_for
from common.domain.ids import UserId
from common.settings import Settings
from tests.cluster import Cluster, Node
from tests.gateways import RunningGateway, running_gateway
from tests.integration.cluster.test_outage import user_of
from tests.persisters import QUICK, running_persister
from tests.waiting import wait_until

URL = "/api/conversations"


@dataclass
class Person:
    """A user, the node that has what is theirs, and a client at each gateway."""

    user: UserId
    home: Node
    one: httpx.AsyncClient
    two: httpx.AsyncClient
    conversation: str = ""

    async def append(self, content: str) -> httpx.Response:
        """At the first gateway."""
        return await self.one.post(f"{URL}/{self.conversation}/messages", json=message(content))

    async def contents(self) -> list[str]:
        """At the second, after a look at the numbers."""
        reply = await self.two.get(f"{URL}/{self.conversation}/messages", params={"limit": 100})
        assert reply.status_code == 200, reply.text
        found = reply.json()["messages"]
        assert [m["sequence_number"] for m in found] == list(range(len(found)))
        return [m["content"] for m in found]


@pytest.fixture
async def pair(clustered: Settings) -> AsyncIterator[list[RunningGateway]]:
    settings = clustered.model_copy(update={"persister": QUICK})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_persister(settings))
        yield [await stack.enter_async_context(running_gateway(settings)) for _ in range(2)]


@pytest.fixture
async def people(
    clustered: Settings, whole: Cluster, pair: list[RunningGateway]
) -> AsyncIterator[list[Person]]:
    """One of each partition, with a conversation of one message."""
    keys = keys_for(clustered)
    async with AsyncExitStack() as stack:
        people: list[Person] = []
        for partition in range(keys.partitions):
            user = user_of(clustered, partition)
            clients = [await stack.enter_async_context(gateway.client(user)) for gateway in pair]
            person = Person(user, whole.owner(keys.log(partition)), clients[0], clients[1])
            reply = await person.one.post(
                f"{URL}/messages", params={"ack": "persisted"}, json=message("first")
            )
            assert reply.status_code == 201, reply.text
            person.conversation = reply.json()["conversation_id"]
            people.append(person)
        yield people


def message(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


async def test_what_one_gateway_takes_the_other_shows(people: list[Person]) -> None:
    """In every partition: appends, reads, lists, deletions."""
    for person in people:
        assert (await person.append("second")).status_code == 201
        assert await person.contents() == ["first", "second"]
        listed = (await person.two.get(URL)).json()["conversations"]
        assert [row["conversation_id"] for row in listed] == [person.conversation]
        assert (await person.two.delete(f"{URL}/{person.conversation}")).status_code == 204
        assert (await person.append("too late")).status_code == 404


async def test_without_one_primary_the_others_users_notice_nothing(
    whole: Cluster, people: list[Person]
) -> None:
    """503 with Retry-After for its own; the gateways stay ready, and the log keeps the say."""
    away = whole.nodes[0]
    theirs, others = _split(people, away)
    away.kill()
    for _ in range(3):
        for person in others:
            reply = await person.append("while it is away")
            assert reply.status_code == 201, reply.text
            assert reply.json()["position"], "by the log, not by the record"
            assert (await person.contents())[-1] == "while it is away"
        await asyncio.sleep(1.0)
    for person in theirs:
        reply = await person.append("nobody takes it")
        assert reply.status_code == 503
        assert reply.headers["Retry-After"]
    assert [(await p.one.get("/readyz")).status_code for p in others[:1]] == [200]
    await asyncio.to_thread(away.start)
    for person in theirs:
        await wait_until(lambda p=person: _takes(p, "it is back"), timeout_seconds=30, interval_seconds=0.1)
        assert await person.contents() == ["first", "it is back"]


async def test_without_any_primary_the_record_has_the_say(whole: Cluster, people: list[Person]) -> None:
    """And gives it back when all of them are there again, not earlier."""
    for node in whole.nodes:
        node.kill()
    for person in people:
        await wait_until(
            lambda p=person: _takes(p, "in the record"), timeout_seconds=40, interval_seconds=0.2
        )
        assert await person.contents() == ["first", "in the record"]
    for node in whole.nodes[:2]:
        await asyncio.to_thread(node.start)
    await asyncio.sleep(2.0)
    some = next(person for person in people if person.home is whole.nodes[0])
    reply = await some.append("still in the record")
    assert (reply.status_code, reply.json().get("position")) == (201, None), reply.text
    await asyncio.to_thread(whole.nodes[2].start)
    await whole.settle()
    for person in people:
        await wait_until(lambda p=person: _takes(p, "on the log", by_log=True), timeout_seconds=40)
        contents = [text for text in await person.contents() if text != "still in the record"]
        assert contents[:2] == ["first", "in the record"]
        assert set(contents[2:]) == {"on the log"}


def _split(people: list[Person], node: Node) -> tuple[list[Person], list[Person]]:
    return [p for p in people if p.home is node], [p for p in people if p.home is not node]


async def _takes(person: Person, content: str, *, by_log: bool | None = None) -> bool:
    reply = await person.append(content)
    taken = reply.status_code == 201
    return taken and (by_log is None or bool(reply.json()["position"]) is by_log)

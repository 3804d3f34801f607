"""Messages over HTTP: append, one or many, and read them back in every way."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from common.settings import Settings
from tests.gateways import RunningGateway, problem_fields, running_gateway
from tests.keeping import with_redis, without_redis
from tests.persisting import persist
from tests.stage import stage
from tests.waiting import wait_until

URL = "/api/conversations"


async def begin(client: httpx.AsyncClient, count: int = 0) -> str:
    """The path of a new conversation's messages, with `count` of them: "0", "1", …"""
    made = (await client.post(URL, json={})).json()
    path = f"{URL}/{made['conversation_id']}/messages"
    for start in range(0, count, 1000):
        batch = [{"role": "user", "content": str(n)} for n in range(start, min(start + 1000, count))]
        assert (await client.post(path, json={"messages": batch})).status_code == 201
    return path


async def contents(client: httpx.AsyncClient, path: str, **params: Any) -> list[str]:
    reply = await client.get(path, params=params)
    assert reply.status_code == 200, reply.text
    return [message["content"] for message in reply.json()["messages"]]


ODD_MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "Grüße 😀 \u2028 \\u0000 as text"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function"}]},
    {"role": "tool", "tool_call_id": "a", "content": '{"celsius": 18.50}'},
    {"role": "user", "content": [{"type": "image", "url": "x"}, "and text", {"text": "more"}]},
    {"type": "reasoning", "summary": [], "encrypted": "…", "nested": {"a": [{"b": [None, True, 1.5e-7]}]}},
    {"content": "", "tokens_used": 0, "latency_ms": 12.25, "model": "m", "name": "n", "metadata": {"x": {}}},
    {
        "role": "user",
        "content": "numbers",
        "big": 2**70,
        "small": -(2**63),
        "float": 1e300,
        "text": "Infinity",
    },
    {"role": "user", "content": "keys", "": 1, "messages ": [], "Ä": {"\t": "\n"}},
]


async def test_what_comes_back_is_what_was_sent(client: httpx.AsyncClient) -> None:
    """Every field of every kind, whether sent alone or in a batch, plus what is assigned."""
    path = await begin(client)
    for message in ODD_MESSAGES:
        assert (await client.post(path, json=message)).status_code == 201
    assert (await client.post(path, json={"messages": ODD_MESSAGES})).status_code == 201
    kept = (await client.get(path)).json()["messages"]
    assert [message["sequence_number"] for message in kept] == list(range(2 * len(ODD_MESSAGES)))
    for message, sent in zip(kept, ODD_MESSAGES * 2, strict=True):
        assert {name: message[name] for name in sent} == sent
        assert message.keys() - sent.keys() == {"id", "sequence_number", "created_at"}


async def test_the_reply_to_an_append_is_what_a_read_gives(
    gateway: RunningGateway, client: httpx.AsyncClient
) -> None:
    """Messages as stored, and where the event stands on the log, if there is one."""
    path = await begin(client)
    reply = await client.post(path, json={"messages": [{"content": "a"}, {"content": "b"}]})
    assert reply.status_code == 201
    answer = reply.json()
    assert answer["conversation_id"] == path.split("/")[3]
    if gateway.settings.uses_redis:
        assert answer["position"].count("-") == 1
    else:
        assert answer["position"] is None
    assert "persisted" not in answer
    assert answer["messages"] == (await client.get(path)).json()["messages"]


async def test_ids_and_times_of_ones_own_are_kept(client: httpx.AsyncClient) -> None:
    """The sequence number is always ours."""
    path = await begin(client)
    sent = {"id": "mine", "created_at": "2024-03-01T09:00:09Z", "content": "x", "sequence_number": 77}
    [kept] = (await client.post(path, json=sent)).json()["messages"]
    assert kept == sent | {"sequence_number": 0}


async def test_the_same_message_id_is_appended_once(client: httpx.AsyncClient) -> None:
    """With the same content the first answer comes again; with other content it is refused."""
    path = await begin(client)
    first = await client.post(path, json={"id": "a", "content": "x"})
    again = await client.post(path, json={"content": "x", "id": "a"})
    other = await client.post(path, json={"id": "a", "content": "y"})
    assert again.status_code == 201
    assert again.json()["messages"] == first.json()["messages"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 409
    assert problem_fields(other) == ["id"]
    assert await contents(client, path) == ["x"]


async def test_an_idempotency_key_makes_an_append_happen_once(client: httpx.AsyncClient) -> None:
    """The second reply is the first one; another request under the key is refused."""
    path = await begin(client)
    headers = {"Idempotency-Key": "key-1"}
    body = {"messages": [{"content": "a"}, {"content": "a"}]}
    first, again = [await client.post(path, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["messages"] == first.json()["messages"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json()["messages"][0]["id"] != first.json()["messages"][1]["id"]
    other = await client.post(path, json={"content": "b"}, headers=headers)
    assert other.status_code == 422
    assert problem_fields(other) == ["Idempotency-Key"]
    elsewhere = await client.post(await begin(client), json=body, headers=headers)
    assert elsewhere.status_code == 422
    assert await contents(client, path) == ["a", "a"]


async def test_one_users_key_is_not_anothers(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Each has keys of their own."""
    headers = {"Idempotency-Key": "same"}
    made = [await who.post(f"{URL}/messages", json={"content": "x"}, headers=headers) for who in (alice, bob)]
    assert [reply.status_code for reply in made] == [201, 201]
    assert made[0].json()["conversation_id"] != made[1].json()["conversation_id"]


async def test_many_appends_at_once_get_one_order(client: httpx.AsyncClient) -> None:
    """Numbers without a gap, and every batch in one piece."""
    path = await begin(client)
    batches = [{"messages": [{"content": f"{n}.{i}"} for i in range(3)]} for n in range(20)]
    replies = await asyncio.gather(*(client.post(path, json=batch) for batch in batches))
    assert {reply.status_code for reply in replies} == {201}
    kept = (await client.get(path, params={"limit": 1000})).json()["messages"]
    assert [message["sequence_number"] for message in kept] == list(range(60))
    for reply in replies:
        numbers = [message["sequence_number"] for message in reply.json()["messages"]]
        assert numbers == list(range(numbers[0], numbers[0] + 3))


async def test_a_thousand_messages_go_in_one_append(client: httpx.AsyncClient) -> None:
    """And come back in one read."""
    path = await begin(client, 1000)
    assert await contents(client, path, limit=1000) == [str(n) for n in range(1000)]


async def test_reads_give_the_newest_oldest_first(client: httpx.AsyncClient) -> None:
    """`limit` may be more than the cached list holds, or than there is; `desc` turns it round."""
    path = await begin(client, 120)
    everything = [str(n) for n in range(120)]
    assert await contents(client, path) == everything[-20:]
    assert await contents(client, path, limit=1) == everything[-1:]
    assert await contents(client, path, limit=80) == everything[-80:]
    assert await contents(client, path, limit=1000) == everything
    assert await contents(client, path, limit=3, order="desc") == everything[:-4:-1]
    conversation = (await client.get(path.removesuffix("/messages"), params={"limit": 2})).json()
    assert [message["content"] for message in conversation["messages"]] == everything[-2:]
    assert conversation["message_count"] == 120


async def test_windows_are_cut_by_sequence_numbers(client: httpx.AsyncClient) -> None:
    """Both ends exclusive: `after` the first ones past it, `before` alone the last ones below it."""
    path = await begin(client, 120)
    everything = [str(n) for n in range(120)]
    assert await contents(client, path, after=9, limit=5) == everything[10:15]
    assert await contents(client, path, after=-1, limit=2) == everything[:2]
    assert await contents(client, path, before=30, limit=5) == everything[25:30]
    assert await contents(client, path, after=9, before=13, limit=50) == everything[10:13]
    assert await contents(client, path, after=115, limit=50) == everything[116:]
    assert await contents(client, path, after=119) == []
    assert await contents(client, path, before=0) == []
    assert await contents(client, path, after=2**63 - 1) == []
    assert await contents(client, path, before=30, limit=3, order="desc") == ["29", "28", "27"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_cover_everything_once(client: httpx.AsyncClient, order: str) -> None:
    """From the oldest, or with `desc` from the newest; the last page is shorter."""
    path = await begin(client, 120)
    everything = [str(n) for n in range(120)]
    if order == "desc":
        everything.reverse()
    assert await contents(client, path, page=1, page_size=500, order=order) == everything
    paged = [await contents(client, path, page=n, page_size=50, order=order) for n in (1, 2, 3, 4)]
    assert paged == [everything[:50], everything[50:100], everything[100:], []]
    reply = (await client.get(path, params={"page": 3, "order": order})).json()
    assert reply["pagination"] == {
        "total": 120,
        "page": 3,
        "page_size": 50,
        "total_pages": 3,
        "has_next": False,
        "has_prev": True,
    }


async def test_an_empty_conversation_reads_as_empty(client: httpx.AsyncClient) -> None:
    """Not as one that is not there."""
    path = await begin(client)
    assert await contents(client, path) == []
    assert await contents(client, path, after=0) == []
    page = (await client.get(path, params={"page": 1})).json()
    assert (page["messages"], page["pagination"]["total"], page["pagination"]["total_pages"]) == ([], 0, 0)


async def test_messages_without_a_conversation_begin_one(client: httpx.AsyncClient) -> None:
    """Titled from the first user message; other fields of a single message are its own."""
    reply = await client.post(
        f"{URL}/messages", json={"role": "user", "content": "  What\nis up? ", "title": "the message's own"}
    )
    assert reply.status_code == 201
    answer = reply.json()
    assert answer["messages"][0]["title"] == "the message's own"
    read = (await client.get(f"{URL}/{answer['conversation_id']}")).json()
    assert (read["title"], read["message_count"]) == ("What is up?", 1)
    assert read["messages"] == answer["messages"]


async def test_a_new_conversation_gets_what_stands_beside_its_messages(client: httpx.AsyncClient) -> None:
    """Title, model and metadata."""
    beside: dict[str, Any] = {"title": "Mine", "model": "m", "metadata": {"a": 1}}
    messages = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "hello"}]
    answer = (await client.post(f"{URL}/messages", json={"messages": messages, **beside})).json()
    read = (await client.get(f"{URL}/{answer['conversation_id']}")).json()
    assert {name: read[name] for name in beside} == beside
    untitled = (await client.post(f"{URL}/messages", json={"messages": messages})).json()
    assert (await client.get(f"{URL}/{untitled['conversation_id']}")).json()["title"] == "hello"


async def test_a_conversation_can_be_named_in_the_body(client: httpx.AsyncClient) -> None:
    """One that is there; what belongs to new ones only is refused."""
    path = await begin(client, 1)
    there = path.split("/")[3]
    single = await client.post(f"{URL}/messages", json={"conversation_id": there, "content": "1"})
    batch = {"conversation_id": there, "messages": [{"content": "2"}]}
    assert single.status_code == 201
    assert "conversation_id" not in single.json()["messages"][0]
    assert (await client.post(f"{URL}/messages", json=batch)).status_code == 201
    assert await contents(client, path) == ["0", "1", "2"]
    titled = await client.post(f"{URL}/messages", json=batch | {"title": "late"})
    assert titled.status_code == 422
    assert problem_fields(titled) == ["title"]
    absent = await client.post(f"{URL}/messages", json=batch | {"conversation_id": str(uuid.uuid4())})
    assert absent.status_code == 404
    assert problem_fields(absent) == ["conversation_id"]


async def test_a_key_makes_beginning_with_messages_idempotent(client: httpx.AsyncClient) -> None:
    """One conversation with one message, and the same answer."""
    headers = {"Idempotency-Key": "key-2"}
    replies = [
        await client.post(f"{URL}/messages", json={"role": "user", "content": "x"}, headers=headers)
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [201, 201]
    assert replies[0].json()["messages"] == replies[1].json()["messages"]
    assert replies[0].json()["conversation_id"] == replies[1].json()["conversation_id"]
    assert replies[1].headers["Idempotent-Replayed"] == "true"
    assert len((await client.get(URL)).json()["conversations"]) == 1


async def test_an_append_can_wait_for_postgresql(settings: Settings) -> None:
    """The reply comes when the persister has committed the event, and says so."""
    async with (
        running_gateway(settings) as gateway,
        gateway.client("alice@example.com") as client,
        stage(settings) as scene,
    ):
        path = await begin(client)
        waiting = asyncio.create_task(client.post(path, params={"ack": "persisted"}, json={"content": "x"}))

        async def persisted() -> bool:
            await persist(scene)
            return waiting.done()

        await wait_until(persisted)
        reply = await waiting
    assert reply.status_code == 201
    assert reply.json()["persisted"] is True


@without_redis
async def test_without_a_log_an_append_is_in_postgresql_at_once(client: httpx.AsyncClient) -> None:
    """There is nothing to wait for."""
    path = await begin(client)
    reply = await client.post(path, params={"ack": "persisted"}, json={"content": "x"})
    assert reply.status_code == 201
    assert reply.json()["persisted"] is True


@with_redis
async def test_an_append_does_not_wait_for_ever(client: httpx.AsyncClient) -> None:
    """No persister runs here: 202 when the wait is over, and the messages are safe on the log."""
    path = await begin(client)
    reply = await client.post(path, params={"ack": "persisted"}, json={"content": "x"})
    assert reply.status_code == 202
    assert reply.json()["persisted"] is False
    assert await contents(client, path) == ["x"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("before=x", "before"),
        ("before=-2", "before"),
        ("after=99999999999999999999", "after"),
        ("order=up", "order"),
        ("page=0", "page"),
        ("page_size=501", "page_size"),
        ("page=1&limit=2", "limit"),
        ("page=1&before=2", "before"),
        ("page_size=5&after=2", "after"),
        ("offset=5", "offset"),
        ("%00=5", "\\u0000"),
    ],
)
async def test_a_wrong_query_parameter_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    """Page sizes over 500 and mixtures too."""
    reply = await client.get(f"{await begin(client)}?{query}")
    assert reply.status_code == 422, reply.text
    assert problem_fields(reply) == [field]

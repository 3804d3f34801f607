"""Conversations over HTTP: begin, list, read, change, delete."""

import uuid
from typing import Any

import httpx
import pytest

from common.domain.ids import UserId, new_conversation_id, now_ms
from common.settings import Settings
from services.gateway.conversations import DAY_MS
from tests.gateways import problem_fields, running_gateway
from tests.redis_parts import STATE
from tests.stage import scene_of

URL = "/api/conversations"


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    reply = await client.post(URL, json=fields)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def test_a_conversation_is_begun_and_read_back(client: httpx.AsyncClient) -> None:
    """With what was given, and a place of its own."""
    reply = await client.post(URL, json={"title": "Paris", "model": "m-1", "metadata": {"a": [1, None]}})
    assert reply.status_code == 201
    made = reply.json()
    assert (made["title"], made["model"], made["metadata"]) == ("Paris", "m-1", {"a": [1, None]})
    assert (made["message_count"], made["preview"]) == (0, None)
    assert made["created_at"] == made["last_modified"]
    assert reply.headers["Location"] == f"{URL}/{made['conversation_id']}"
    read = await client.get(reply.headers["Location"])
    assert read.status_code == 200
    assert read.json() == made | {"messages": []}


async def test_an_empty_object_begins_a_conversation(client: httpx.AsyncClient) -> None:
    """Nothing is needed."""
    made = await create(client)
    assert (made["title"], made["model"], made["metadata"]) == (None, None, {})


async def test_a_conversation_id_of_ones_own_makes_it_idempotent(client: httpx.AsyncClient) -> None:
    """The second call gets what the first one made."""
    chosen = str(uuid.uuid4())
    first = await client.post(URL, json={"conversation_id": chosen.upper(), "title": "first"})
    second = await client.post(URL, json={"conversation_id": chosen, "title": "second"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["conversation_id"] == chosen
    assert second.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_an_idempotency_key_makes_it_idempotent_as_well(client: httpx.AsyncClient) -> None:
    """One conversation for one key."""
    replies = [await client.post(URL, json={}, headers={"Idempotency-Key": "the-key"}) for _ in range(2)]
    assert replies[0].json() == replies[1].json()
    assert replies[1].headers["Idempotent-Replayed"] == "true"


async def test_a_change_changes_what_it_names(client: httpx.AsyncClient) -> None:
    """What is left out stays, null clears."""
    made = await create(client, title="old", model="m", metadata={"a": 1})
    path = f"{URL}/{made['conversation_id']}"
    renamed = (await client.patch(path, json={"title": "new"})).json()
    assert (renamed["title"], renamed["model"], renamed["metadata"]) == ("new", "m", {"a": 1})
    cleared = (await client.patch(path, json={"model": None, "metadata": None})).json()
    assert (cleared["title"], cleared["model"], cleared["metadata"]) == ("new", None, {})
    assert (await client.get(path)).json() == cleared | {"messages": []}


async def test_delete_is_final(client: httpx.AsyncClient) -> None:
    """It is gone from reads and lists, refuses messages, and its id cannot be used again."""
    chosen = (await create(client, conversation_id=str(uuid.uuid4())))["conversation_id"]
    path = f"{URL}/{chosen}"
    reply = await client.delete(path)
    assert (reply.status_code, reply.content) == (204, b"")
    for again in (
        await client.get(path),
        await client.get(f"{path}/messages"),
        await client.patch(path, json={"title": "x"}),
        await client.post(f"{path}/messages", json={"content": "x"}),
        await client.post(f"{URL}/messages", json={"conversation_id": chosen, "content": "x"}),
        await client.delete(path),
    ):
        assert again.status_code == 404
        assert problem_fields(again) == ["conversation_id"]
    revived = await client.post(URL, json={"conversation_id": chosen})
    assert revived.status_code == 409
    assert problem_fields(revived) == ["conversation_id"]
    assert (await client.get(URL)).json() == {"conversations": [], "next_cursor": None}


async def test_the_list_is_newest_first_and_followed_by_cursor(client: httpx.AsyncClient) -> None:
    """A conversation moves up when something is appended; the last page has no cursor."""
    ids = [(await create(client, title=str(n)))["conversation_id"] for n in range(5)]
    await client.post(f"{URL}/{ids[0]}/messages", json={"role": "user", "content": "hello there"})
    expected = [ids[0], *reversed(ids[1:])]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(URL, params=params)).json()
        seen += [row["conversation_id"] for row in page["conversations"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == expected
    first = (await client.get(URL, params={"limit": 1})).json()["conversations"][0]
    assert (first["preview"], first["message_count"], first["title"]) == ("hello there", 1, "0")


async def test_the_list_can_be_paged(client: httpx.AsyncClient) -> None:
    """With the totals; a page past the last is empty."""
    ids = [(await create(client))["conversation_id"] for _ in range(5)]
    page = (await client.get(URL, params={"page": 2, "page_size": 2})).json()
    assert [row["conversation_id"] for row in page["conversations"]] == [ids[2], ids[1]]
    assert page["pagination"] == {
        "total": 5,
        "page": 2,
        "page_size": 2,
        "total_pages": 3,
        "has_next": True,
        "has_prev": True,
    }
    beyond = (await client.get(URL, params={"page": 9})).json()
    assert beyond["conversations"] == []
    assert beyond["pagination"]["has_next"] is False
    assert beyond["pagination"]["total"] == 5


@pytest.mark.parametrize(("history_days", "listed_by_default"), [(7, 1), (30, 2), (0, 3)])
async def test_days_leaves_out_what_is_older(
    kept: Settings, history_days: int, listed_by_default: int
) -> None:
    """Without it CONVERSATION_HISTORY_DAYS says how far a list goes back, by cursor and by page; 0 is all."""
    user = UserId("alice")
    ids = [new_conversation_id() for _ in range(3)]
    async with scene_of(kept) as scene:
        for conversation, days_ago in zip(ids, (0, 20, 1000), strict=True):
            at_ms = now_ms() - days_ago * DAY_MS
            await scene.parts.publisher.create(user, STATE, at_ms=at_ms, conversation_id=conversation)
    settings = kept.model_copy(update={"conversation_history_days": history_days})
    async with running_gateway(settings) as gateway, gateway.client("alice") as client:
        for params, count in (({}, listed_by_default), ({"days": 0}, 3), ({"days": 21}, 2), ({"days": 1}, 1)):
            for paging in ({"limit": 10}, {"page": 1}):
                listed = (await client.get(URL, params=params | paging)).json()["conversations"]
                assert [row["conversation_id"] for row in listed] == ids[:count]
        assert (await client.get(f"{URL}/{ids[2]}")).status_code == 200


async def test_anothers_conversation_is_as_absent_as_none_at_all(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    """Every route, the same status and the same body, and nothing happens to it."""
    theirs = (await create(alice, title="private"))["conversation_id"]
    await alice.post(f"{URL}/{theirs}/messages", json={"content": "secret"})
    before = (await alice.get(f"{URL}/{theirs}")).json()
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("GET", "/messages?after=0", None),
        ("GET", "/messages?page=1", None),
        ("POST", "/messages", {"content": "x"}),
        ("POST", "/messages", {"messages": [{"content": "x"}]}),
    ):
        replies = [
            await bob.request(method, f"{URL}/{target}{suffix}", json=body)
            for target in (theirs, str(uuid.uuid4()))
        ]
        assert [reply.status_code for reply in replies] == [404, 404], (method, suffix)
        assert replies[0].content == replies[1].content
        assert problem_fields(replies[0]) == ["conversation_id"]
    submitted = await bob.post(f"{URL}/messages", json={"conversation_id": theirs, "content": "x"})
    assert submitted.status_code == 404
    assert (await bob.get(URL)).json()["conversations"] == []
    assert (await alice.get(f"{URL}/{theirs}")).json() == before


async def test_two_users_may_choose_the_same_id(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Neither learns of the other's."""
    chosen = str(uuid.uuid4())
    for client, title in ((alice, "hers"), (bob, "his")):
        assert (await create(client, conversation_id=chosen, title=title))["title"] == title
    assert (await alice.get(f"{URL}/{chosen}")).json()["title"] == "hers"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"title": 5}, ["title"]),
        ({"title": "t" * 501}, ["title"]),
        ({"title": "nul\0"}, ["title"]),
        ({"model": ""}, ["model"]),
        ({"metadata": []}, ["metadata"]),
        ({"metadata": {"a": "x" * 70_000}}, ["metadata"]),
        ({"conversation_id": "not-a-uuid"}, ["conversation_id"]),
        ({"conversation_id": 5}, ["conversation_id"]),
        ({"surprise": 1}, ["surprise"]),
        ([], ["body"]),
    ],
)
async def test_a_conversation_that_cannot_be_is_refused(
    client: httpx.AsyncClient, body: object, fields: list[str]
) -> None:
    """With the field named."""
    reply = await client.post(URL, json=body)
    assert reply.status_code == 422, reply.text
    assert problem_fields(reply) == fields
    assert (await client.get(URL)).json()["conversations"] == []


async def test_an_infinite_number_in_metadata_is_refused(client: httpx.AsyncClient) -> None:
    """It could not be written down again."""
    reply = await client.post(
        URL, content=b'{"metadata": {"a": [1e999]}}', headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422
    assert problem_fields(reply) == ["metadata.a.0"]


@pytest.mark.parametrize("body", [{}, {"title": 5}, {"conversation_id": str(uuid.uuid4())}])
async def test_a_change_that_is_none_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """An empty one as well: it may be a misspelled field."""
    made = await create(client, title="kept")
    reply = await client.patch(f"{URL}/{made['conversation_id']}", json=body)
    assert reply.status_code == 422
    assert problem_fields(reply)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%00", "cursor"),
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=501", "page_size"),
        ("page=1&limit=5", "limit"),
        ("page_size=5&cursor=abc", "cursor"),
        ("days=-1", "days"),
        ("days=1e3", "days"),
        ("limt=5", "limt"),
    ],
)
async def test_a_wrong_query_parameter_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    """An unknown one too: it may be a typo."""
    reply = await client.get(f"{URL}?{query}")
    assert reply.status_code == 422, reply.text
    assert problem_fields(reply) == [field]

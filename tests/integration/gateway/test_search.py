"""Search over HTTP: what is found, what is shown of it, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from common.domain.search.wanted import MAX_QUERY_CHARS
from common.settings import Settings
from services.gateway.schemas import SearchHits
from tests.gateways import RunningGateway, problem_fields, running_gateway
from tests.integration.gateway.conftest import Target
from tests.keeping import with_redis

URL = "/api/search"


async def say(client: httpx.AsyncClient, *contents: Any) -> dict[str, Any]:
    """A new conversation of these messages."""
    messages = [{"role": "user", "content": content} for content in contents]
    reply = await client.post("/api/conversations/messages", json={"title": "Paris", "messages": messages})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def search(client: httpx.AsyncClient, q: str, **parameters: Any) -> dict[str, Any]:
    reply = await client.get(URL, params={"q": q, **parameters})
    assert reply.status_code == 200, reply.text
    SearchHits.model_validate(reply.json(), strict=True)
    return reply.json()


async def test_a_message_is_found_as_soon_as_it_is_acknowledged(client: httpx.AsyncClient) -> None:
    """With its place, its conversation's title, and what was looked for lit up."""
    made = await say(client, "What is the weather in Paris?", None, [{"type": "text", "text": "Sunny"}])
    found = await search(client, "weather paris")
    stored = made["messages"][0]
    [hit] = found["hits"]
    assert found["next_cursor"] is None
    assert hit.pop("score") > 0
    assert hit == {
        "conversation_id": made["conversation_id"],
        "title": "Paris",
        "sequence_number": 0,
        "id": stored["id"],
        "role": "user",
        "created_at": stored["created_at"],
        "snippet": [
            {"text": "What is the ", "match": False},
            {"text": "weather", "match": True},
            {"text": " in ", "match": False},
            {"text": "Paris", "match": True},
            {"text": "?", "match": False},
        ],
    }
    assert [hit["sequence_number"] for hit in (await search(client, "SUNNY"))["hits"]] == [2]


async def test_pages_follow_a_cursor(client: httpx.AsyncClient) -> None:
    """Each hit once; the cursor goes with its own search only."""
    await say(client, *(f"bus {i}" for i in range(5)))
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = await search(client, "bus", limit=2, **cursor)
        seen += [hit["sequence_number"] for hit in page["hits"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == list(range(5))
    refused = await client.get(URL, params={"q": "train", **cursor})
    assert (refused.status_code, problem_fields(refused)) == (422, ["cursor"])


async def test_nobody_finds_anothers_messages(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    """A foreign word is answered as one that nobody has, byte for byte."""
    await say(alice, "the secret of alice")
    await say(bob, "bob has none")
    assert len((await search(alice, "secret"))["hits"]) == 1
    for other in (bob, client):
        replies = [await other.get(URL, params={"q": q}) for q in ("secret", "nobodys", "alice", "secr*")]
        assert {reply.content for reply in replies} == {b'{"hits":[],"next_cursor":null}'}
    taken = await search(alice, "the", limit=1)
    assert taken["next_cursor"] is None


async def test_what_is_shown_is_what_was_sent(client: httpx.AsyncClient) -> None:
    """No markup is added, so none can be forged; whoever shows it escapes it."""
    text = "<script>alert('weather')</script> <em>weather</em> \u202eweather"
    await say(client, text)
    [hit] = (await search(client, "weather"))["hits"]
    assert "".join(part["text"] for part in hit["snippet"]) == text
    assert [part["text"] for part in hit["snippet"] if part["match"]] == ["weather"] * 3


async def test_what_is_deleted_is_gone_at_once(client: httpx.AsyncClient) -> None:
    """With its conversation."""
    made = await say(client, "gone with the wind")
    await say(client, "wind stays")
    assert len((await search(client, "wind"))["hits"]) == 2
    await client.delete(f"/api/conversations/{made['conversation_id']}")
    [hit] = (await search(client, "wind"))["hits"]
    assert hit["conversation_id"] != made["conversation_id"]


async def test_what_is_edited_or_cut_off_is_found_as_it_is_now(client: httpx.AsyncClient) -> None:
    """By its new text at once; a deleted or truncated message never."""
    made = await say(client, "old wind 0", "old wind 1", "old wind 2", "old wind 3")
    path = f"/api/conversations/{made['conversation_id']}"
    ids = [message["id"] for message in made["messages"]]
    replies = [
        await client.patch(f"{path}/messages/{ids[0]}", json={"content": "new wind 0"}),
        await client.delete(f"{path}/messages/{ids[1]}"),
        await client.post(f"{path}/truncate", json={"after_sequence_number": 2}),
    ]
    assert [reply.is_success for reply in replies] == [True] * 3, [reply.text for reply in replies]
    shown = {
        hit["sequence_number"]: hit["snippet"][0]["text"] for hit in (await search(client, "wind"))["hits"]
    }
    assert shown == {0: "new ", 2: "old "}
    assert [hit["sequence_number"] for hit in (await search(client, "old"))["hits"]] == [2]


HOSTILE = [
    *("'", '"', '"""', "\\", "%", "_", "*", "**", "a*b*", ":*", "& | ! ( )", "a <-> b", "a & !b", "a:A*b"),
    *("'; DROP TABLE messages; --", "{{7*7}}", "${x}", "<img src=x>", "../../etc/passwd", "a' OR 1=1 --"),
    *(
        "سلام \u202eabc",
        "我想去巴黎",
        "ｶﾞ",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "e\u0301" * 100,
        "\ufeff",
        "\u200b\u200d",
        "ﷺ",
        "\x1b[31m",
    ),
    *(
        "\u0000",
        "a\u0000b",
        "a" * 10_000,
        "a " * 10_000,
        "好" * 300,
        "\ud7ff\ue000",
        "İ",
        "ß",
        "\U0010ffff",
        "-a",
        "--",
    ),
]


@pytest.mark.asyncio(loop_scope="module")
async def test_no_query_does_harm(target: Target) -> None:
    """Answered, or refused with the parameter's name; and the next one is answered."""
    await say(target.client, "what everybody may find", *(text for text in HOSTILE if "\0" not in text))
    for text in HOSTILE:
        reply = await target.client.get(URL, params={"q": text})
        assert reply.status_code in (200, 422), (text, reply.text)
        if reply.status_code == 422:
            assert problem_fields(reply) == ["q"]
    assert len((await search(target.client, "everybody"))["hits"]) == 1


REFUSED = [
    ("", "q"),
    ("q=", "q"),
    ("q=%00", "q"),
    ("q=%3F%21", "q"),
    (f"q={'a' * (MAX_QUERY_CHARS + 1)}", "q"),
    (f"q={'+'.join(f'w{i}' for i in range(40))}", "q"),
    ("q=a&q=b", "q"),
    ("q=a&limit=0", "limit"),
    ("q=a&limit=101", "limit"),
    ("q=a&limit=x", "limit"),
    ("q=a&cursor=nonsense", "cursor"),
    ("q=a&cursor=%F0%9F%8E%89", "cursor"),
    ("q=a&page=1", "page"),
    ("q=a&user_id=alice", "user_id"),
]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_refused_is_named(target: Target) -> None:
    """A 422 for each, with the parameter."""
    for query, field in REFUSED:
        reply = await target.client.get(f"{URL}?{query}")
        assert (reply.status_code, problem_fields(reply)) == (422, [field]), (query, reply.text)


@pytest.mark.asyncio(loop_scope="module")
async def test_bytes_that_are_no_text_do_no_harm(target: Target) -> None:
    """Percent-encoded; no client of ours would send them."""
    for query in ("q=%ff%fe", "q=a%ff", "q=%ed%a0%80", "q=%c0%80"):
        assert (await target.client.get(f"{URL}?{query}")).status_code in (200, 400, 422)


@with_redis
async def test_without_postgresql_a_search_is_to_be_repeated(kept: Settings) -> None:
    """Redis alone has not what is to be searched: 503, and when to try again."""
    nobody = kept.postgres.model_copy(update={"url": SecretStr("postgresql://x:y@127.0.0.1:1/x")})
    async with running_gateway(kept):
        pass  # A Redis that has just been started is inspected, and that takes PostgreSQL.
    without = kept.model_copy(update={"postgres": nobody})
    async with running_gateway(without) as gateway, gateway.client() as client:
        reply = await client.get(URL, params={"q": "paris"})
        assert reply.status_code == 503
        assert int(reply.headers["Retry-After"]) >= 1


async def test_a_service_needs_the_scope_read(gateway: RunningGateway) -> None:
    """It searches for the user that it acts for."""
    from tools.token import mint_service_token

    async with gateway.client("alice") as alice:
        await say(alice, "the secret of alice")
    for scope, status in (("read", 200), ("publish", 403)):
        token = mint_service_token(gateway.settings.identity, "indexer", [scope])
        headers = {"Authorization": f"Bearer {token}", "Turnlog-User": "alice"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as service:
            reply = await service.get(URL, params={"q": "secret"})
            assert reply.status_code == status
            assert status == 403 or len(reply.json()["hits"]) == 1


async def test_many_searches_at_once(client: httpx.AsyncClient) -> None:
    """Each gets its own answer."""
    await say(client, *(f"word{i}" for i in range(20)))
    found = await asyncio.gather(*(search(client, f"word{i}") for i in range(20)))
    assert [page["hits"][0]["sequence_number"] for page in found] == list(range(20))

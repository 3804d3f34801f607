"""Edits, deletions and truncations over HTTP, on both stores. No persister runs: on the log all waits."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.gateways import problem_fields
from tests.integration.gateway.conftest import URL


async def _conversation(client: httpx.AsyncClient, *texts: str) -> tuple[str, list[dict[str, Any]]]:
    """A conversation and its messages as they were answered, whose ids are m0, m1, …"""
    messages = [{"id": f"m{i}", "role": "user", "content": text} for i, text in enumerate(texts)]
    reply = await client.post(f"{URL}/messages", json={"title": "T", "messages": messages})
    assert reply.status_code == 201, reply.text
    return reply.json()["conversation_id"], reply.json()["messages"]


async def _read(client: httpx.AsyncClient, conversation: str) -> list[dict[str, Any]]:
    return (await client.get(f"{URL}/{conversation}/messages")).json()["messages"]


async def _row(client: httpx.AsyncClient, conversation: str) -> tuple[int, str | None]:
    """Count and preview as the list shows them; the header has to agree."""
    rows = (await client.get(URL)).json()["conversations"]
    [row] = [row for row in rows if row["conversation_id"] == conversation]
    header = (await client.get(f"{URL}/{conversation}")).json()
    assert {name: header[name] for name in row} == row
    return row["message_count"], row["preview"]


async def test_an_edit_replaces_what_it_names(client: httpx.AsyncClient) -> None:
    """The rest stays as it was sent; reply, read, list and preview agree at once."""
    conversation, [first, second] = await _conversation(client, "one", "two")
    change = {"content": ["new", {"type": "text", "text": "words"}], "metadata": None, "mine": {"a": [1]}}

    reply = await client.patch(f"{URL}/{conversation}/messages/m1", json=change)

    assert reply.status_code == 200, reply.text
    assert reply.json() == {**second, **change}
    assert await _read(client, conversation) == [first, reply.json()]
    assert await _row(client, conversation) == (2, "new words")


async def test_the_preview_is_that_of_the_last_message_that_says_something(client: httpx.AsyncClient) -> None:
    """Whichever is edited, emptied or deleted."""
    conversation, _ = await _conversation(client, "one", "two", "three")
    await client.patch(f"{URL}/{conversation}/messages/m0", json={"content": "first"})
    assert await _row(client, conversation) == (3, "three")
    await client.patch(f"{URL}/{conversation}/messages/m2", json={"content": None})
    assert await _row(client, conversation) == (3, "two")
    await client.delete(f"{URL}/{conversation}/messages/m1")
    assert await _row(client, conversation) == (2, "first")
    await client.delete(f"{URL}/{conversation}/messages/m0")
    assert await _row(client, conversation) == (1, None)


async def test_what_changes_comes_first_in_the_list(client: httpx.AsyncClient) -> None:
    """`last_modified` is that of the latest change, of whatever kind."""
    one, _ = await _conversation(client, "a", "b")
    other, _ = await _conversation(client, "c")
    for change in (
        client.patch(f"{URL}/{one}/messages/m0", json={"content": "A"}),
        client.delete(f"{URL}/{one}/messages/m0"),
        client.post(f"{URL}/{one}/truncate", json={"after_sequence_number": -1}),
    ):
        await client.patch(f"{URL}/{other}", json={"title": "later"})
        assert (await change).status_code < 300
        rows = (await client.get(URL)).json()["conversations"]
        assert [row["conversation_id"] for row in rows][:2] == [one, other]


async def test_an_edit_that_changes_nothing_leaves_no_trace(client: httpx.AsyncClient) -> None:
    """The same reply as often as it is repeated, and the conversation is no newer."""
    conversation, _ = await _conversation(client, "one")
    url = f"{URL}/{conversation}/messages/m0"
    first = await client.patch(url, json={"content": "new"})
    before = (await client.get(f"{URL}/{conversation}")).json()
    again = await client.patch(url, json={"content": "new"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await client.get(f"{URL}/{conversation}")).json() == before


async def test_a_message_as_it_was_read_can_be_sent_back_changed(client: httpx.AsyncClient) -> None:
    """Its number is ours and is left out; its id and time are the same."""
    conversation, [message] = await _conversation(client, "one")
    sent = {**message, "content": "new", "sequence_number": 99}
    reply = await client.patch(f"{URL}/{conversation}/messages/m0", json=sent)
    assert reply.json() == {**message, "content": "new"}


async def test_a_deleted_message_leaves_a_gap(client: httpx.AsyncClient) -> None:
    """Its number is not given again, and its id cannot be used again."""
    conversation, [first, second, third] = await _conversation(client, "one", "two", "three")
    url = f"{URL}/{conversation}/messages"
    assert (await client.delete(f"{url}/m1")).status_code == 204
    assert await _read(client, conversation) == [first, third]
    page = (await client.get(url, params={"page": 1, "page_size": 10})).json()
    assert (page["messages"], page["pagination"]["total"]) == ([first, third], 2)

    again = await client.post(url, json={"id": "m1", "role": "user", "content": "two"})
    assert (again.status_code, problem_fields(again)) == (409, ["id"])
    assert again.json()["type"].endswith("message-deleted")
    for reply in (await client.delete(f"{url}/m1"), await client.patch(f"{url}/m1", json={"content": "x"})):
        assert (reply.status_code, problem_fields(reply)) == (404, ["message_id"])
    new = (await client.post(url, json={"role": "user", "content": "four"})).json()["messages"][0]
    assert new["sequence_number"] == 3
    assert await _read(client, conversation) == [first, third, new]
    assert second not in await _read(client, conversation)


async def test_a_truncation_takes_all_that_came_after(client: httpx.AsyncClient) -> None:
    """Regenerate: what is appended then gets new numbers."""
    conversation, [first, second, *_] = await _conversation(client, "one", "two", "three", "four")
    url = f"{URL}/{conversation}"
    reply = await client.post(f"{url}/truncate", json={"after_sequence_number": 1})
    assert reply.status_code == 200, reply.text
    assert (reply.json()["message_count"], reply.json()["preview"]) == (2, "two")
    assert reply.json() == {k: v for k, v in (await client.get(url)).json().items() if k != "messages"}
    assert await _read(client, conversation) == [first, second]
    assert await _row(client, conversation) == (2, "two")
    new = (await client.post(f"{url}/messages", json={"role": "assistant", "content": "5"})).json()[
        "messages"
    ]
    assert new[0]["sequence_number"] == 4
    assert await _read(client, conversation) == [first, second, *new]
    late = await client.post(
        f"{url}/messages", json={"messages": [{"content": "x"}, {"id": "m3", "content": "four"}]}
    )
    assert late.status_code == 409
    assert await _read(client, conversation) == [first, second, *new]


@pytest.mark.parametrize("after", [-1, 0, 7, 2**63 - 1])
async def test_a_truncation_behind_the_end_changes_nothing(client: httpx.AsyncClient, after: int) -> None:
    """-1 takes all; repeating it takes nothing more."""
    conversation, messages = await _conversation(client, "one")
    url = f"{URL}/{conversation}"
    first = await client.post(f"{url}/truncate", json={"after_sequence_number": after})
    again = await client.post(f"{url}/truncate", json={"after_sequence_number": after})
    assert (again.status_code, again.json()) == (200, first.json())
    assert await _read(client, conversation) == ([] if after == -1 else messages)


async def test_a_key_makes_a_truncation_happen_once(client: httpx.AsyncClient) -> None:
    """Repeated after an append it takes nothing; with another body the key is refused."""
    conversation, [first, _] = await _conversation(client, "one", "two")
    url, key = f"{URL}/{conversation}", {"Idempotency-Key": "cut-1"}
    body = {"after_sequence_number": 0}
    await client.post(f"{url}/truncate", json=body, headers=key)
    new = (await client.post(f"{url}/messages", json={"content": "new"})).json()["messages"]

    again = await client.post(f"{url}/truncate", json=body, headers=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["message_count"] == 2
    assert await _read(client, conversation) == [first, *new]
    other = await client.post(f"{url}/truncate", json={"after_sequence_number": -1}, headers=key)
    assert (other.status_code, problem_fields(other)) == (422, ["Idempotency-Key"])


async def test_a_key_makes_an_edit_happen_once(client: httpx.AsyncClient) -> None:
    """A late repetition does not undo a later edit."""
    conversation, _ = await _conversation(client, "one")
    url, key = f"{URL}/{conversation}/messages/m0", {"Idempotency-Key": "edit-1"}
    await client.patch(url, json={"content": "first"}, headers=key)
    later = await client.patch(url, json={"content": "second"})
    again = await client.patch(url, json={"content": "first"}, headers=key)
    assert (again.status_code, again.json()) == (200, later.json())
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_an_append_is_compared_with_what_the_message_is_by_now(client: httpx.AsyncClient) -> None:
    """The id of an edited message: as it is now it is there already, anything else is refused."""
    conversation, _ = await _conversation(client, "one")
    url = f"{URL}/{conversation}/messages"
    edited = (await client.patch(f"{url}/m0", json={"content": "new"})).json()
    same = await client.post(url, json={"id": "m0", "role": "user", "content": "new"})
    assert (same.status_code, same.json()["messages"]) == (201, [edited])
    for text in ("one", "other"):
        other = await client.post(url, json={"id": "m0", "role": "user", "content": text})
        assert other.status_code == 409


@pytest.mark.parametrize("name", ["a/b", "a b?c#d%", "ünï", "..", "messages"])
async def test_any_id_of_a_message_can_be_named(client: httpx.AsyncClient, name: str) -> None:
    """Percent-encoded, whatever is in it."""
    conversation, _ = await _conversation(client, "one")
    url = f"{URL}/{conversation}/messages"
    await client.post(url, json={"id": name, "content": "x"})
    escaped = quote(name, safe="").replace(".", "%2E")
    assert (await client.patch(f"{url}/{escaped}", json={"content": "y"})).json()["content"] == "y"
    assert (await client.delete(f"{url}/{escaped}")).status_code == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "body"),
        ([], "body"),
        ({"id": "m0"}, "body"),
        ({"id": "other", "content": "x"}, "id"),
        ({"id": None, "content": "x"}, "id"),
        ({"content": 5}, "content"),
        ({"role": ""}, "role"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"tokens_used": -1}, "tokens_used"),
    ],
)
async def test_a_wrong_edit_is_refused(client: httpx.AsyncClient, change: Any, field: str) -> None:
    """422, with the field that is wrong."""
    conversation, [message] = await _conversation(client, "one")
    reply = await client.patch(f"{URL}/{conversation}/messages/m0", json=change)
    assert (reply.status_code, problem_fields(reply)) == (422, [field])
    assert await _read(client, conversation) == [message]


@pytest.mark.parametrize(
    "body", [{}, {"after_sequence_number": -2}, {"after_sequence_number": "1"}, {"after": 1}, []]
)
async def test_a_wrong_truncation_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    """422, and nothing is cut."""
    conversation, messages = await _conversation(client, "one")
    reply = await client.post(f"{URL}/{conversation}/truncate", json=body)
    assert reply.status_code == 422
    assert await _read(client, conversation) == messages


async def test_what_is_anothers_is_not_there(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Foreign, absent and deleted conversations get one answer; so do ids that no message can have."""
    foreign, _ = await _conversation(alice, "hers")
    deleted, _ = await _conversation(bob, "his")
    await bob.delete(f"{URL}/{deleted}")
    absent = "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
    for name in ("m0", "no-such", "a%00b", "x" * 300):
        replies = [
            await call
            for conversation in (foreign, deleted, absent)
            for call in (
                bob.patch(f"{URL}/{conversation}/messages/{name}", json={"content": "mine"}),
                bob.delete(f"{URL}/{conversation}/messages/{name}"),
            )
        ]
        assert {(reply.status_code, reply.text) for reply in replies} == {(404, replies[0].text)}
    cuts = [
        await bob.post(f"{URL}/{conversation}/truncate", json={"after_sequence_number": -1})
        for conversation in (foreign, deleted, absent)
    ]
    assert {(reply.status_code, problem_fields(reply)[0]) for reply in cuts} == {(404, "conversation_id")}
    assert len(await _read(alice, foreign)) == 1


async def test_a_conversation_without_a_title_takes_one_from_its_first_user_message(
    client: httpx.AsyncClient,
) -> None:
    """Not from another's words; and what has a title keeps it."""
    conversation = (await client.post(URL, json={})).json()["conversation_id"]
    titles: list[str | None] = []
    for message in (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  What is\nthe weather?  "},
        {"role": "user", "content": "And tomorrow?"},
    ):
        assert (await client.post(f"{URL}/{conversation}/messages", json=message)).status_code == 201
        titles.append((await client.get(f"{URL}/{conversation}")).json()["title"])
    assert titles == [None, "What is the weather?", "What is the weather?"]
    [row] = [
        r for r in (await client.get(URL)).json()["conversations"] if r["conversation_id"] == conversation
    ]
    assert (row["title"], row["message_count"]) == ("What is the weather?", 3)


async def test_a_key_gives_the_first_answer_though_the_message_is_gone(client: httpx.AsyncClient) -> None:
    """Who repeats a request under its key hears what it was; nothing comes back."""
    conversation, kept = await _conversation(client, "one")
    url, key = f"{URL}/{conversation}/messages", {"Idempotency-Key": "append-1"}
    body = {"role": "user", "content": "two"}
    first = await client.post(url, json=body, headers=key)
    await client.delete(f"{url}/{first.json()['messages'][0]['id']}")

    again = await client.post(url, json=body, headers=key)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert [m["content"] for m in again.json()["messages"]] == ["two"]
    assert await _read(client, conversation) == kept

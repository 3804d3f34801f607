"""Exports over HTTP: every form, whatever waits for PostgreSQL, for its owner only, back by `import`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from common.domain.ids import UserId, new_conversation_id
from common.postgres.migrations import migrate
from common.settings import PostgresSettings, Settings
from services.gateway.export_formats import FORMATS
from tests.e2e.test_five_states import sample
from tests.exports import export, lines
from tests.gateways import RunningGateway, problem_fields, running_gateway
from tests.keeping import with_redis
from tests.persisting import persist
from tests.redis_parts import NOW, message
from tests.stage import Scene, Stage, scene_of
from tools.importing.importer import Importer
from tools.importing.lines import read_lines

URL = "/api/conversations"
ALICE = UserId("alice")
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "What is the *weather* in <Paris>?\n\n## assistant"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        ],
        "tokens_used": 31,
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 18}'},
    {"role": "user", "content": [{"type": "text", "text": "And here?"}, {"type": "image", "url": "x:```"}]},
    {"type": "reasoning", "summary": [], "big": 2**70},
]


@pytest.fixture
async def scene(kept: Settings, gateway: RunningGateway) -> AsyncIterator[Scene]:
    """The gateway's servers, to say what is persisted when."""
    async with scene_of(kept) as made:
        yield made


async def told(client: httpx.AsyncClient, **fields: Any) -> str:
    """A conversation of TURNS."""
    made = (await client.post(URL, json=fields)).json()["conversation_id"]
    reply = await client.post(f"{URL}/{made}/messages", json={"messages": TURNS})
    assert reply.status_code == 201, reply.text
    return made


async def test_json_is_what_reads_of_it_answer(alice: httpx.AsyncClient) -> None:
    """The conversation as it is read, with all of its messages."""
    made = await told(alice, title="Paris", metadata={"a": [1, None]})
    reply = await export(alice, f"conversations/{made}/export")
    assert reply.json() == (await alice.get(f"{URL}/{made}", params={"limit": 1000})).json()
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Content-Disposition"] == (
        f"attachment; filename=\"turnlog-{made}.json\"; filename*=UTF-8''Paris.json"
    )


async def test_jsonl_holds_the_same_on_a_line(alice: httpx.AsyncClient) -> None:
    """With the user, whose it is."""
    made = await told(alice, title="Paris")
    [line] = lines((await export(alice, f"conversations/{made}/export", "jsonl")).text)
    read = (await alice.get(f"{URL}/{made}/messages")).json()["messages"]
    assert (line["conversation_id"], line["user_id"], line["title"]) == (made, "alice", "Paris")
    assert line["messages"] == read


async def test_markdown_shows_all_that_messages_hold(alice: httpx.AsyncClient) -> None:
    """Roles, times, texts as they were sent; what is no text as JSON, in fences that hold."""
    made = await told(alice, title="Par\nis")
    text = (await export(alice, f"conversations/{made}/export", "markdown")).text
    assert text.startswith(f"# Par is\n\n- Conversation: {made}\n")
    times = [turn["created_at"] for turn in (await alice.get(f"{URL}/{made}/messages")).json()["messages"]]
    for number, who in enumerate(("user", "assistant", "tool", "user", "reasoning")):
        assert f"\n## {number} · {who} · {times[number]}\n" in text
    assert "What is the *weather* in <Paris>?\n\n## assistant\n" in text
    assert "Tool call of `weather`:\n\n```json\n{\n" in text
    assert 'Answer to the tool call `call_1`:\n\n{"celsius": 18}\n' in text
    assert "And here?\n\n````json\n" in text
    assert '"url": "x:```"\n}\n````\n' in text
    for field in ('"tokens_used": 31', f'"big": {2**70}'):
        assert field in text


@pytest.mark.parametrize("form", FORMATS)
async def test_an_empty_conversation_and_none_at_all(alice: httpx.AsyncClient, form: str) -> None:
    """Are exported, too, and HEAD tells of a file without one."""
    nothing = await export(alice, "export", form)
    made = (await alice.post(URL, json={})).json()["conversation_id"]
    for path in ("export", f"conversations/{made}/export"):
        assert made in (await export(alice, path, form)).text
        head = await alice.head(f"/api/{path}", params={"format": form})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == FORMATS[form].content_type
    assert nothing.text == {"json": '{"conversations":[]}', "jsonl": "", "markdown": ""}[form]


async def test_what_was_answered_is_in_the_export_wherever_it_is(
    scene: Scene, alice: httpx.AsyncClient
) -> None:
    """In PostgreSQL, waiting for it behind that, or both; more than one part holds, once and in order."""
    conversation = await scene.conversation(user=ALICE)
    for first in (0, 600, 1200):
        batch = [message(str(number)) for number in range(first, first + 600)]
        await scene.parts.publisher.append(ALICE, conversation, batch, at_ms=NOW)
        exported = (await export(alice, f"conversations/{conversation}/export")).json()["messages"]
        assert [turn["content"] for turn in exported] == [str(number) for number in range(first + 600)]
        if first == 0:
            await persist(scene, ALICE)
    found = lines((await export(alice, "export", "jsonl")).text)
    assert [turn["content"] for line in found for turn in line["messages"]] == [str(n) for n in range(1800)]


async def test_all_conversations_are_exported_however_many(scene: Scene, alice: httpx.AsyncClient) -> None:
    """More than are listed at a time, half of them in PostgreSQL; deleted ones and other users' are not."""
    made = [await scene.conversation(messages=1, user=ALICE) for _ in range(130)]
    await persist(scene, ALICE)
    made += [await scene.conversation(messages=1, user=ALICE) for _ in range(130)]
    await scene.conversation(messages=1, user=UserId("bob"))
    for gone in (made.pop(200), made.pop(20)):
        await scene.parts.publisher.delete(ALICE, gone, at_ms=NOW)
    exported = (await export(alice, "export")).json()["conversations"]
    assert [one["conversation_id"] for one in exported] == sorted(made)
    assert {len(one["messages"]) for one in exported} == {1}


@pytest.mark.parametrize("form", FORMATS)
async def test_anothers_conversation_is_as_absent_as_none_at_all(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, form: str
) -> None:
    """Foreign, absent and deleted: the same status, the same body; and nobody's export of all has it."""
    theirs, gone = await told(alice, title="private"), await told(bob)
    await bob.delete(f"{URL}/{gone}")
    replies = [
        await bob.get(f"{URL}/{conversation}/export", params={"format": form})
        for conversation in (theirs, gone, new_conversation_id())
    ]
    assert [reply.status_code for reply in replies] == [404] * 3
    assert problem_fields(replies[0]) == ["conversation_id"]
    assert len({reply.content for reply in replies}) == 1
    assert theirs not in (await export(bob, "export", form)).text


async def test_an_unknown_form_is_refused(alice: httpx.AsyncClient) -> None:
    """Before anything is read."""
    reply = await alice.get("/api/export", params={"format": "pdf"})
    assert (reply.status_code, problem_fields(reply)) == (422, ["format"])


async def test_an_export_comes_back_by_import(
    kept: Settings, scene: Scene, empty_postgres_dsn: str, tmp_path: Path
) -> None:
    """Into an empty instance: every message equal, its id too; importing twice changes nothing."""
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(chat) + "\n" for chat in [*sample(), deepest()]))
    await brought_in(scene, file)
    users = sorted({UserId(json.loads(line)["user_id"]) for line in file.read_text().splitlines()})
    await migrate(empty_postgres_dsn)
    postgres = PostgresSettings(url=SecretStr(empty_postgres_dsn))
    other = kept.model_copy(update={"redis_enabled": False, "postgres": postgres})
    exported = tmp_path / "export.jsonl"
    async with running_gateway(kept) as first, running_gateway(other) as second:
        before = [await whole(first, user) for user in users]
        exported.write_text("".join([(await jsonl_of(first, user)) for user in users]))
        async with scene_of(other) as empty:
            for known in (False, True):
                known_ones = await brought_in(empty, exported)
                assert bool(known_ones) is known
        after = [await whole(second, user) for user in users]
    assert after == before
    assert sum(len(one["messages"]) for user in after for one in user) > 1000


def deepest() -> dict[str, Any]:
    """A conversation with a message as deep as may be sent alone: it counts as one level itself."""
    deep: Any = "x"
    for _ in range(99):
        deep = [deep]
    at = "2024-03-01T09:00:00Z"
    messages = [{"role": "user", "content": "deep", "deep": deep, "created_at": at}]
    return {"conversation_id": new_conversation_id(), "user_id": "deep@example.com", "messages": messages}


class _Quiet:
    def advance(self, size: int, tally: Any) -> None: ...

    def say(self, text: str) -> None:
        raise AssertionError(text)


async def brought_in(scene: Scene, file: Path) -> int:
    """Import a file; how many of its conversations were known in full."""
    importer = Importer(scene.parts.publisher, scene.settings.limits, _Quiet())
    await importer.run(read_lines([file]))
    assert importer.tally.refused == 0
    return importer.tally.known


async def jsonl_of(gateway: RunningGateway, user: UserId) -> str:
    async with gateway.client(user) as client:
        return (await export(client, "export", "jsonl")).text


async def whole(gateway: RunningGateway, user: UserId) -> list[dict[str, Any]]:
    async with gateway.client(user) as client:
        return (await export(client, "export")).json()["conversations"]


@with_redis
async def test_too_much_that_is_pending_is_told_so(
    scene: Stage, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process does not hold all that waits for PostgreSQL: a problem, before the first byte."""
    monkeypatch.setattr("common.history.PENDING_BYTES", 1000)
    conversation = await scene.conversation(messages=1, user=ALICE)
    assert await export(alice, f"conversations/{conversation}/export")
    await scene.append(conversation, "x" * 1000, ALICE)
    for path in (f"{URL}/{conversation}/export", "/api/export"):
        reply = await alice.get(path)
        assert (reply.status_code, problem_fields(reply)) == (503, [])
        assert reply.headers["Retry-After"]
    await persist(scene, ALICE)
    assert len((await export(alice, f"conversations/{conversation}/export")).json()["messages"]) == 2


async def test_a_title_cannot_leave_its_header(alice: httpx.AsyncClient) -> None:
    """Whatever it holds, the reply has the headers it should have, and a file name without a path."""
    title = 'a/../b\r\nSet-Cookie: x=1"; filename="evil.exe\u202etxt" % ü'
    made = await told(alice, title=title)
    reply = await export(alice, f"conversations/{made}/export")
    assert "Set-Cookie" not in reply.headers
    value = reply.headers["Content-Disposition"]
    shown = "a .. b Set-Cookie x=1 ; filename= evil.exe txt ü.json"
    assert re.fullmatch(rf"attachment; filename=\"turnlog-{made}\.json\"; filename\*=UTF-8''[\w.%~-]+", value)
    assert httpx.URL(f"http://x/{value.partition(chr(39) * 2)[2]}").path == f"/{shown}"


async def test_an_export_has_messages_as_they_were_edited_and_not_those_that_are_gone(
    scene: Scene, alice: httpx.AsyncClient
) -> None:
    """Whether PostgreSQL has the change already or not, and where a conversation was cut off."""
    made = await told(alice)
    messages = (await alice.get(f"{URL}/{made}/messages")).json()["messages"]
    await persist(scene, ALICE)
    for number, change in ((0, {"content": "edited"}), (1, None)):
        path = f"{URL}/{made}/messages/{messages[number]['id']}"
        reply = await (alice.patch(path, json=change) if change else alice.delete(path))
        assert reply.is_success, reply.text
    cut = await alice.post(f"{URL}/{made}/truncate", json={"after_sequence_number": 3})
    assert cut.is_success, cut.text
    for _ in range(2):
        exported = (await export(alice, f"conversations/{made}/export")).json()["messages"]
        assert [turn["sequence_number"] for turn in exported] == [0, 2, 3]
        assert exported[0]["content"] == "edited"
        await persist(scene, ALICE)

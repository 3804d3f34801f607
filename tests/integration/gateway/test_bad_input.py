"""Bad input: a 4xx problem that names the field, nothing appended, and the server goes on.

All cases share one gateway, so that each also shows that the ones before it did no harm.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.gateways import problem_fields
from tests.integration.gateway.conftest import Target

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "/api/conversations"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """A bad request. In the path `OWN` and `FOREIGN` stand for the target's conversations."""

    name: str
    status: int
    field: str
    content: bytes = b'{"content": "x"}'
    path: str = f"{URL}/OWN/messages"
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = tuple(JSON.items())


def body(name: str, value: object, field: str) -> Case:
    """A case of well-formed JSON."""
    return Case(name, 422, field, json.dumps(value).encode())


MESSAGE = {"role": "user", "content": "x"}
BODIES = [
    Case("not JSON", 400, "body", b"this is no JSON"),
    Case("cut off", 400, "body", b'{"content": "x'),
    Case("nothing", 400, "body", b""),
    Case("two values", 400, "body", b"{}{}"),
    Case("invalid UTF-8", 400, "body", b'{"content": "\xff\xfe"}'),
    Case("NaN", 422, "body", b'{"content": "x", "metadata": {"n": NaN}}'),
    Case("Infinity", 422, "body", b'{"content": "x", "latency_ms": Infinity}'),
    Case("overflow", 422, "metadata.n", b'{"content": "x", "metadata": {"n": 1e999}}'),
    Case("overflow in latency", 422, "latency_ms", b'{"content": "x", "latency_ms": 1e999}'),
    Case("endless integer", 422, "body", b'{"content": "x", "n": %b}' % (b"9" * 5000)),
    Case("NUL", 422, "content", b'{"content": "a\\u0000b"}'),
    Case("NUL in a key", 422, "metadata", b'{"content": "x", "metadata": {"\\u0000": 1}}'),
    Case("NUL in an id", 422, "id", b'{"content": "x", "id": "a\\u0000"}'),
    Case("lone surrogate", 422, "body", b'{"content": "\\ud800"}'),
    Case("lone surrogate in a key", 422, "body", b'{"content": "x", "\\udfff": 1}'),
    Case("depth", 422, "body", b'{"content": "x", "deep": %b%b}' % (b"[" * 10_000, b"]" * 10_000)),
    Case("a little too deep", 422, "body", b'{"content": "x", "deep": %b%b}' % (b"[" * 100, b"]" * 100)),
    Case("10 MB", 413, "body", b'{"content": "%b"}' % (b"x" * 10_000_000)),
    Case("5 MB message", 422, "body", b'{"content": "%b"}' % (b"x" * 5_000_000)),
    body("a list", [MESSAGE], "body"),
    body("text", "hello", "body"),
    body("null", None, "body"),
    body("number as role", {"role": 7, "content": "x"}, "role"),
    body("number as content", {"content": 7}, "content"),
    body("number in a list of parts", {"content": ["x", 7]}, "content.1"),
    body("text as metadata", {"content": "x", "metadata": "y"}, "metadata"),
    body("no field", {}, "body"),
    body("empty batch", {"messages": []}, "messages"),
    body("1,001 messages", {"messages": [MESSAGE] * 1001}, "messages"),
    body("batch of text", {"messages": ["x"]}, "messages.0"),
    body("one of many", {"messages": [*[MESSAGE] * 3, {"role": 7}]}, "messages.3.role"),
    body("an id twice", {"messages": [MESSAGE | {"id": "a"}] * 2}, "messages.1.id"),
    body("a field beside the batch", {"messages": [MESSAGE], "title": "x"}, "title"),
    body("a time without a zone", {"content": "x", "created_at": "2026-01-01T00:00:00"}, "created_at"),
    body("a month that is none", {"content": "x", "created_at": "2026-13-01T00:00:00Z"}, "created_at"),
]
ELSEWHERE = [
    Case("foreign id", 404, "conversation_id", path=f"{URL}/FOREIGN/messages"),
    Case("absent id", 404, "conversation_id", path=f"{URL}/{uuid.UUID(int=1)}/messages"),
    Case("malformed id", 422, "conversation_id", path=f"{URL}/nonsense/messages"),
    Case("an id without hyphens", 422, "conversation_id", path=f"{URL}/{uuid.UUID(int=1).hex}/messages"),
    Case("an id with braces", 422, "conversation_id", path=f"{URL}/%7B{uuid.UUID(int=1)}%7D/messages"),
    Case("NUL in the path", 422, "conversation_id", path=f"{URL}/%00/messages"),
    Case("no UTF-8 in the path", 422, "conversation_id", path=f"{URL}/%ff%fe/messages"),
    Case("unknown parameter", 422, "akc", path=f"{URL}/OWN/messages?akc=persisted"),
    Case("unknown ack", 422, "ack", path=f"{URL}/OWN/messages?ack=maybe"),
    Case("a method that is none", 400, "method", method="FOO"),
    *(
        Case(f"{text!r} as a number", 422, name, path=f"{URL}/OWN/messages?{name}={text}", method="GET")
        for name in ("limit", "page", "page_size", "before", "after")
        for text in ("1_0", "%205", "+5", "5.0", "")
    ),
    *(
        Case(f"{text!r} as a number of {name}", 422, name, path=f"{URL}?{name}={text}", method="GET")
        for name in ("limit", "days")
        for text in ("1_0", "%205")
    ),
    Case("underscore in a limit", 422, "limit", path=f"{URL}/OWN?limit=1_0", method="GET"),
    Case("wrong method", 405, "method", method="PUT"),
    Case("wrong method too", 405, "method", method="DELETE"),
    Case(
        "malformed id in the body",
        422,
        "conversation_id",
        b'{"conversation_id": "x", "content": "x"}',
        f"{URL}/messages",
    ),
    Case(
        "number as id in the body",
        422,
        "conversation_id",
        b'{"conversation_id": 5, "content": "x"}',
        f"{URL}/messages",
    ),
    Case(
        "only an id in the body",
        422,
        "body",
        b'{"conversation_id": "%b"}' % str(uuid.UUID(int=1)).encode(),
        f"{URL}/messages",
    ),
    Case(
        "surprise beside the batch",
        422,
        "surprise",
        b'{"messages": [{"content": "x"}], "surprise": 1}',
        f"{URL}/messages",
    ),
    Case("NUL in the title", 422, "title", b'{"title": "\\u0000"}', URL),
    Case("unknown field", 422, "titel", b'{"titel": "x"}', URL),
    Case("empty change", 422, "body", b"{}", f"{URL}/OWN", "PATCH"),
]
HEADERS = [
    Case("wrong content type", 415, "Content-Type", headers=(("Content-Type", "text/plain"),)),
    Case("a form", 415, "Content-Type", headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    Case("no content type", 415, "Content-Type", headers=()),
    Case(
        "wrong charset", 415, "Content-Type", headers=(("Content-Type", "application/json; charset=latin1"),)
    ),
    Case("compressed", 415, "Content-Encoding", headers=(*JSON.items(), ("Content-Encoding", "gzip"))),
    Case("bad token", 401, "Authorization", headers=(*JSON.items(), ("Authorization", "Bearer nonsense"))),
    Case("empty token", 401, "Authorization", headers=(*JSON.items(), ("Authorization", "Bearer"))),
    Case("basic login", 401, "Authorization", headers=(*JSON.items(), ("Authorization", "Basic YTpi"))),
    Case("empty key", 422, "Idempotency-Key", headers=(*JSON.items(), ("Idempotency-Key", ""))),
    Case("long key", 422, "Idempotency-Key", headers=(*JSON.items(), ("Idempotency-Key", "k" * 256))),
    Case("spaces in a key", 422, "Idempotency-Key", headers=(*JSON.items(), ("Idempotency-Key", "a b"))),
]


@pytest.mark.parametrize("case", [*BODIES, *ELSEWHERE, *HEADERS], ids=lambda case: case.name)
async def test_bad_input_is_refused_and_does_nothing(target: Target, case: Case) -> None:
    """The reply says which field; no event is on the log; the same conversation still takes a read."""
    before = await target.changes()
    path = case.path.replace("OWN", target.own).replace("FOREIGN", target.foreign)
    reply = await target.client.request(case.method, path, content=case.content, headers=dict(case.headers))
    assert reply.status_code == case.status, reply.text
    assert problem_fields(reply) == [case.field], reply.text
    assert await target.changes() == before
    healthy = await target.client.get(f"{URL}/{target.own}")
    assert (healthy.status_code, healthy.json()["message_count"]) == (200, 0)


async def test_too_much_is_refused_also_when_no_length_is_announced(target: Target) -> None:
    """Chunked bodies are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"[" * 100_000

    before = await target.changes()
    reply = await target.client.post(f"{URL}/{target.own}/messages", content=chunks(), headers=JSON)
    assert reply.status_code == 413
    assert problem_fields(reply) == ["body"]
    assert await target.changes() == before


async def test_a_chunked_body_is_as_good_as_one_with_a_length(target: Target) -> None:
    """As long as it is within the limit."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"mess'
        yield b'ages": []}'

    reply = await target.client.post(f"{URL}/{target.own}/messages", content=chunks(), headers=JSON)
    assert problem_fields(reply) == ["messages"]

"""Whatever the gateway takes comes back as it was sent; whatever it refuses is a 4xx. Never a 5xx."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateways import problem_fields
from tests.integration.gateway.conftest import URL, Target

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 100
ASSIGNED = {"id", "created_at", "sequence_number"}

# Any JSON at all: also what must be refused, such as NUL, half surrogate pairs and endless nesting.
text = st.text(st.characters(codec=None), max_size=20)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | text
anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4)
)
named = st.sampled_from(
    [
        "id",
        "role",
        "content",
        "created_at",
        "tokens_used",
        "latency_ms",
        "model",
        "name",
        "tool_calls",
        "metadata",
    ]
)
unlikely = st.dictionaries(named | text, anything, max_size=6)
# Mostly right, so that many are taken.
likely = st.fixed_dictionaries(
    {"content": st.text(max_size=50) | st.none()},
    optional={
        "role": st.text(min_size=1, max_size=20),
        "metadata": st.dictionaries(st.text(max_size=10), anything, max_size=3),
        "parts": st.lists(anything, max_size=3),
        "tokens_used": st.integers(0, 2**63 - 1),
        "big": st.integers(),
        "latency_ms": st.floats(0, 1e300),
    },
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(messages=st.lists(likely | unlikely, min_size=1, max_size=4))
async def test_any_message_comes_back_or_is_refused(target: Target, messages: list[dict[str, Any]]) -> None:
    """Equal in every field the client sent; ids and times only where it sent none."""
    body = json.dumps({"messages": messages}).encode()
    reply = await target.client.post(
        f"{URL}/messages", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code in (201, 400, 422), reply.text
    if reply.status_code != 201:
        assert problem_fields(reply)
        return
    answer = reply.json()
    read = (await target.client.get(f"{URL}/{answer['conversation_id']}/messages")).json()["messages"]
    assert read == answer["messages"]
    for kept, sent in zip(read, json.loads(body)["messages"], strict=True):
        sent.pop("sequence_number", None)
        added = {name: value for name, value in kept.items() if name not in sent or sent[name] is None}
        assert {name: kept[name] for name in sent if sent[name] is not None or name not in ASSIGNED} == {
            name: value for name, value in sent.items() if value is not None or name not in ASSIGNED
        }
        assert added.keys() - sent.keys() <= ASSIGNED


@settings(max_examples=EXAMPLES, deadline=None)
@given(body=st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("path", [f"{URL}/messages", URL])
async def test_no_body_makes_a_failure_of_ours(target: Target, path: str, body: bytes) -> None:
    """Bytes or JSON of any shape."""
    reply = await target.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code < 500, reply.text


ODD_BYTES = st.binary(max_size=40).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))


@settings(max_examples=EXAMPLES, deadline=None)
@given(path=ODD_BYTES, query=ODD_BYTES, header=ODD_BYTES)
async def test_no_request_line_or_header_makes_a_failure_of_ours(
    target: Target, path: bytes, query: bytes, header: bytes
) -> None:
    """Paths, queries and headers of any bytes, as they would come from a socket."""
    names = (b"Authorization", b"Idempotency-Key", b"X-Request-ID", b"Content-Type", b"Cookie", b"Range")
    lines = [
        b"GET /api/conversations/%b?limit=%b HTTP/1.1" % (path, query),
        b"Host: localhost",
        *(b"%b: %b" % (name, header) for name in names),
        b"Connection: close",
    ]
    reader, writer = await asyncio.open_connection(target.client.base_url.host, target.client.base_url.port)
    status = b""
    with suppress(OSError):  # what is no HTTP at all may just be hung up on
        writer.write(b"\r\n".join([*lines, b"", b""]))
        status = await reader.readline()
    writer.close()
    assert status == b"" or status.split()[1] < b"500", status

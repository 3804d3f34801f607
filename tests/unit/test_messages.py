"""One message: what may be sent, what is stored, when two are the same, what the preview says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

from common.domain.ids import MessageId
from common.domain.messages import (
    Message,
    Numbered,
    body_digest,
    message_text,
    new_message,
    numbered,
    parse_body,
    parse_timestamp,
    preview_of,
    same_as_stored,
    shorten,
)
from tests.events import OBJECTS, bodies

NOW = 1_760_000_000_000


@given(OBJECTS)
def test_a_message_is_kept_as_it_was_sent(sent: dict[str, Any]) -> None:
    """Every field, known or not; only what was absent is added, and the place is always ours."""
    body = parse_body(new_message(sent, at_ms=NOW).body)
    assigned = {"id", "created_at", "sequence_number"}
    kept = {key: value for key, value in sent.items() if key not in assigned}
    assert {key: value for key, value in body.items() if key not in assigned} == kept
    assert "sequence_number" not in body


def test_an_id_and_a_time_are_added_where_absent() -> None:
    """A null counts as absent, as clients with a fixed shape send it."""
    body = parse_body(new_message({"id": None, "created_at": None, "content": "x"}, at_ms=NOW).body)
    assert body["id"]
    assert body["created_at"] == "2025-10-09T08:53:20.000Z"


def test_a_clients_id_and_time_are_kept() -> None:
    """Whatever a caller would have derived in their place."""
    sent = {"id": "mine", "created_at": "2024-03-01T09:00:09Z", "content": "x"}
    message = new_message(sent, at_ms=NOW, default_id=MessageId("derived"))
    assert message.id == "mine"
    assert parse_body(message.body) == sent


def test_whether_an_id_can_be_in_the_record_already() -> None:
    """A fresh one cannot, so nothing need be looked up for it."""
    assert not new_message({"content": "x"}, at_ms=NOW).id_given
    assert new_message({"content": "x", "id": "a"}, at_ms=NOW).id_given
    assert new_message({"content": "x"}, at_ms=NOW, default_id=MessageId("a")).id_given


def test_integers_keep_every_digit() -> None:
    """Of any size: they may be ids of somebody else's."""
    message = new_message({"content": "x", "big": 2**200, "small": -(2**70)}, at_ms=NOW)
    body = parse_body(message.body)
    assert (body["big"], body["small"]) == (2**200, -(2**70))


@given(bodies(), st.integers(0, 2**63 - 1))
def test_a_served_message_can_be_taken_apart_again(body: bytes, number: int) -> None:
    """Its sequence number stands in front of its body, and neither is re-written."""
    served = Numbered(number, bytes(body)).served
    assert numbered(served) == Numbered(number, bytes(body))
    assert from_json(served) == {"sequence_number": number} | parse_body(body)


def test_the_digest_knows_equal_messages() -> None:
    """The order of keys does not count, any value does."""
    digest = body_digest({"a": 1, "b": [1, {"c": None, "d": 2**80}]})
    assert digest == body_digest({"b": [1, {"d": 2**80, "c": None}], "a": 1})
    assert digest != body_digest({"a": 1, "b": [1, {"c": None, "d": 2**80 + 1}]})
    assert digest != body_digest({"a": "1", "b": [1, {"c": None, "d": 2**80}]})


def test_a_repeated_message_is_the_same_at_another_time() -> None:
    """A retry without a time of its own gets another assigned; it is the message nevertheless."""
    first = new_message({"id": "a", "content": "x"}, at_ms=NOW)
    again = new_message({"id": "a", "content": "x"}, at_ms=NOW + 60_000)
    assert first.body != again.body
    assert same_as_stored(again, first.body)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"content": "x"}, {"content": "y"}),
        ({"content": "x"}, {"content": "x", "more": None}),
        ({"created_at": "2024-03-01T09:00:00Z"}, {"created_at": "2024-03-02T09:00:00Z"}),
    ],
)
def test_another_body_under_the_same_id_is_noticed(first: dict[str, Any], second: dict[str, Any]) -> None:
    """A time counts where the client gave it."""
    stored = new_message({"id": "a", **first}, at_ms=NOW)
    assert not same_as_stored(new_message({"id": "a", **second}, at_ms=NOW), stored.body)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        (None, ""),
        (["a", {"type": "text", "text": "b"}, {"type": "image", "url": "x"}, {"text": 5}], "a b"),
        ([], ""),
    ],
)
def test_the_text_of_content(content: object, text: str) -> None:
    """A string is its text; of a list it is the text parts."""
    assert message_text(content) == text


def test_a_preview_is_the_last_message_that_says_something() -> None:
    """A tool call without content leaves the preview as it was."""
    assert preview_of(["first", "second", "", " \n"]) == "second"
    assert preview_of(["", ""]) is None
    assert preview_of([]) is None


@given(st.text(max_size=400), st.integers(2, 100))
def test_a_shortened_text_fits_on_one_line(text: str, limit: int) -> None:
    """Within the limit, without breaks, and marked where something was cut."""
    line = shorten(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert line == " ".join(text.split()) or line.endswith("…") or len(text) > limit * 8


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.500000+00:00"),
        ("2026-01-31 14:00:00+02:00", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456+00:00"),
    ],
)
def test_times_that_are_understood(text: str, iso: str) -> None:
    """RFC 3339 with an offset; digits past the microsecond are cut."""
    assert parse_timestamp(text).isoformat() == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-31T25:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\uff12\uff10\uff12\uff16-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z\n",
    ],
)
def test_times_that_are_refused(text: str) -> None:
    """No offset, no such day, or a time that no UTC year holds."""
    with pytest.raises(ValueError, match=r"must|month|day|hour|isoformat"):
        parse_timestamp(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "user", "content": "hi"},
        {"role": "a role of tomorrow", "content": ["text", {"type": "image"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {}}]},
        {"type": "reasoning", "summary": []},
        {"content": "x", "tokens_used": 2**63 - 1, "latency_ms": 0.5, "sequence_number": "ignored"},
    ],
)
def test_messages_that_may_be_sent(fields: dict[str, Any]) -> None:
    """Roles are free text, items without one are legal, unknown fields are anybody's."""
    Message.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"id": "a", "created_at": "2026-01-31T12:00:00Z"},
        {"role": 1},
        {"role": ""},
        {"content": 1},
        {"content": [1]},
        {"content": "x", "id": 5},
        {"content": "x", "tokens_used": True},
        {"content": "x", "latency_ms": float("nan")},
        {"content": "x", "tool_calls": "call"},
        {"content": "x", "created_at": 0},
    ],
)
def test_messages_that_may_not(fields: dict[str, Any]) -> None:
    """The fields we know have types; nothing is converted to fit. A message says something."""
    with pytest.raises(ValidationError):
        Message.model_validate(fields)

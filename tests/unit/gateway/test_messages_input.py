"""Messages as clients send them: what is recognised, what is refused, and how errors name it."""

from typing import Any

import pytest

from common.checks.conversations import check_state
from common.checks.errors import MAX_ERRORS, Invalid
from common.domain.ids import MessageId
from common.domain.messages import parse_body
from common.settings import LimitsSettings
from services.gateway.messages_input import ready, recognise

NOW = 1_760_000_000_000


def accepted(body: object, limits: LimitsSettings | None = None) -> list[dict[str, Any]]:
    made = ready(recognise(body), at_ms=NOW, limits=limits or LimitsSettings())
    return [parse_body(message.body) for message in made]


def refused_fields(body: object, limits: LimitsSettings | None = None) -> list[str]:
    with pytest.raises(Invalid) as caught:
        accepted(body, limits)
    return [error.field for error in caught.value.errors]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, "and this"]},
        {"type": "function_call", "call_id": "c", "arguments": "{}"},
        {"role": "a role nobody has heard of", "content": "", "extra": {"deep": [1, {"er": None}]}},
        {"content": "x", "latency_ms": 12, "tokens_used": 0, "big": 2**80},
    ],
)
def test_every_field_is_kept_as_it_was_sent(message: dict[str, Any]) -> None:
    """Unknown fields, null content, lists of parts and items without a role all come back equal."""
    [kept] = accepted(message)
    assert {name: kept[name] for name in message} == message
    assert kept.keys() - message.keys() == {"id", "created_at"}


def test_a_key_named_messages_makes_it_a_batch() -> None:
    """The order is kept and each gets an id of its own."""
    kept = accepted({"messages": [{"content": "a"}, {"content": "b"}]})
    assert [message["content"] for message in kept] == ["a", "b"]
    assert kept[0]["id"] != kept[1]["id"]


def test_ids_can_be_derived_for_messages_that_have_none() -> None:
    """A client's own id wins."""
    submitted = recognise({"messages": [{"content": "a"}, {"content": "b", "id": "mine"}]})
    made = ready(
        submitted, at_ms=NOW, limits=LimitsSettings(), derived=lambda index: MessageId(f"derived-{index}")
    )
    assert [message.id for message in made] == ["derived-0", "mine"]


def test_fields_that_stand_beside_a_single_message_are_taken_out() -> None:
    """Only the ones that are asked for: all others are the message's own."""
    submitted = recognise(
        {"conversation_id": "c", "title": "mine", "content": "x"}, taken_out=("conversation_id",)
    )
    assert submitted.beside == {"conversation_id": "c"}
    assert submitted.messages == [{"title": "mine", "content": "x"}]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ([], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
        ({}, ["body"]),
        ({"id": "only-an-id"}, ["body"]),
        ({"sequence_number": 5}, ["body"]),
        ({"id": "a", "created_at": "2026-01-01T00:00:00Z", "sequence_number": 5}, ["body"]),
        ({"role": 5, "content": "x"}, ["role"]),
        ({"role": "", "content": "x"}, ["role"]),
        ({"content": 5}, ["content"]),
        ({"content": {"text": "x"}}, ["content"]),
        ({"content": ["fine", 5]}, ["content.1"]),
        ({"content": "x", "tool_calls": {}}, ["tool_calls"]),
        ({"content": "x", "tool_calls": [1]}, ["tool_calls.0"]),
        ({"content": "x", "tokens_used": -1}, ["tokens_used"]),
        ({"content": "x", "tokens_used": 2**63}, ["tokens_used"]),
        ({"content": "x", "tokens_used": "5"}, ["tokens_used"]),
        ({"content": "x", "latency_ms": float("inf")}, ["latency_ms"]),
        ({"content": "x", "created_at": "yesterday"}, ["created_at"]),
        ({"content": "x", "created_at": "0001-01-01T00:00:00+23:59"}, ["created_at"]),
        ({"content": "x", "metadata": []}, ["metadata"]),
        ({"content": "x", "id": ""}, ["id"]),
        ({"content": "x", "id": "i" * 201}, ["id"]),
        ({"content": "x", "id": "line\nbreak"}, ["id"]),
        ({"content": "x", "odd": [1, float("inf")]}, ["odd.1"]),
        ({"messages": []}, ["messages"]),
        ({"messages": {}}, ["messages"]),
        ({"messages": None}, ["messages"]),
        ({"messages": [{"content": "x"}] * 1001}, ["messages"]),
        ({"messages": ["text"]}, ["messages.0"]),
        ({"messages": [{"content": "x"}, {"role": 5}]}, ["messages.1.role"]),
        (
            {"messages": [{"content": 1}, {"role": 2, "content": [3]}]},
            ["messages.0.content", "messages.1.role", "messages.1.content.0"],
        ),
        ({"messages": [{"id": "a", "content": "x"}, {"id": "a", "content": "x"}]}, ["messages.1.id"]),
    ],
)
def test_a_refusal_names_the_field_in_the_callers_terms(body: object, fields: list[str]) -> None:
    """One error for each wrong field, however many ways pydantic had to read it."""
    assert refused_fields(body) == fields


def test_a_message_has_a_size_limit() -> None:
    """Which is named by its setting."""
    limits = LimitsSettings(max_message_bytes=100)
    assert refused_fields({"messages": [{"content": "x"}, {"content": "x" * 100}]}, limits) == ["messages.1"]


@pytest.mark.parametrize(
    "body",
    [
        {"content": "x", "odd": [float("inf")] * 100},
        {"content": [7] * 100},
        {"messages": [{"content": "x", "id": "a"}] * 100},
        {"messages": [{"content": "x", "id": f"a\n{n}"} for n in range(100)]},
        {"messages": [7] * 100},
    ],
)
def test_only_so_many_errors_are_listed(body: object) -> None:
    """However much is wrong."""
    assert len(refused_fields(body)) == MAX_ERRORS


def test_where_nearly_all_is_wrong_nothing_is_listed() -> None:
    """To make a list of it would take longer than all the rest."""
    assert refused_fields({"content": [7] * 10_000}) == ["body"]
    assert refused_fields({"messages": [{"content": [7] * 10_000}]}) == ["messages"]


def test_only_so_many_errors_of_metadata_are_listed() -> None:
    """Of a conversation's as of a message's; none of its parts where the whole is too large."""
    metadata = {"odd": [float("inf")] * 100}
    with pytest.raises(Invalid) as caught:
        check_state(None, metadata, LimitsSettings())
    assert len(caught.value.errors) == MAX_ERRORS
    with pytest.raises(Invalid) as caught:
        check_state(None, metadata, LimitsSettings(max_metadata_bytes=100))
    assert [error.field for error in caught.value.errors] == ["metadata"]


def test_a_message_of_nothing_is_told_what_does_not_count() -> None:
    """Its id, time and place are about the message."""
    with pytest.raises(Invalid) as caught:
        accepted({"id": "x"})
    [error] = caught.value.errors
    assert error.message == "A message needs at least one field besides id, created_at and sequence_number"


def test_a_union_is_explained_in_one_line() -> None:
    """Not once for each of its branches."""
    with pytest.raises(Invalid) as caught:
        accepted({"content": 5})
    assert [error.message for error in caught.value.errors] == ["must be text or must be a list"]

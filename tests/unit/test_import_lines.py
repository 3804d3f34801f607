"""A line of an import: the conversation on it, or what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.checks.errors import Invalid, NotJson
from common.domain.ids import UserId
from common.domain.messages import parse_body
from common.settings import LimitsSettings
from tools.importing.lines import ImportedConversation, Line, parse_line, read_lines
from tools.importing.tally import Tally, summary

NOW = 1_760_000_000_000
ID = "61a8e726-5013-5ee7-89b1-491e1ee5baaf"
MARCH = 1_709_283_609_000
HELLO = {"role": "user", "content": "hello", "created_at": "2024-03-01T09:00:09Z"}
BYE = {"role": "assistant", "content": "bye", "created_at": "2024-03-01T09:00:18.500Z"}
WHOLE: dict[str, Any] = {
    "conversation_id": ID,
    "user_id": "alice@example.com",
    "title": "A chat",
    "model": "gpt",
    "messages": [HELLO, BYE],
}


def parse(text: bytes | dict[str, Any], user: UserId | None = None, **limits: int) -> ImportedConversation:
    """The conversation on a line."""
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return parse_line(
        Line(Path("chats.jsonl"), 1, raw, len(raw)),
        LimitsSettings.model_validate(limits),
        now_ms=NOW,
        user=user,
    )


def bodies(conversation: ImportedConversation) -> list[dict[str, Any]]:
    """Its messages as they will be stored."""
    return [parse_body(message.body) for batch in conversation.batches for message in batch.messages]


def test_a_conversation_keeps_its_history() -> None:
    """It began with its first message and was last modified with its last, not when it was imported."""
    conversation = parse(WHOLE)
    assert (conversation.user, conversation.id) == ("alice@example.com", ID)
    assert conversation.state.title == "A chat"
    assert conversation.state.created_at == "2024-03-01T09:00:09.000Z"
    assert [batch.at_ms for batch in conversation.batches] == [MARCH + 9_500]
    assert [{k: v for k, v in body.items() if k != "id"} for body in bodies(conversation)] == [HELLO, BYE]


def test_ids_are_the_same_at_every_import() -> None:
    """They come from the owner, the conversation and the place in it; a message's own id is kept."""
    first = [body["id"] for body in bodies(parse(WHOLE))]
    assert first == [body["id"] for body in bodies(parse(WHOLE))]
    assert len(set(first)) == 2
    assert first != [body["id"] for body in bodies(parse(WHOLE, UserId("bob")))]
    own = parse({**WHOLE, "messages": [{**HELLO, "id": "mine"}, BYE]})
    assert [body["id"] for body in bodies(own)] == ["mine", first[1]]


def test_messages_without_a_time_get_that_of_the_conversation() -> None:
    """Or now, where that has none either; nothing is ever modified in the future."""
    timeless = {"role": "user", "content": "hello"}
    dated = parse({**WHOLE, "created_at": "2024-03-01T10:00:09+01:00", "messages": [timeless]})
    assert bodies(dated)[0]["created_at"] == "2024-03-01T09:00:09.000Z"
    assert dated.batches[0].at_ms == MARCH
    assert parse({**WHOLE, "messages": [timeless]}).batches[0].at_ms == NOW
    for given, at_ms in (("2999-01-01T00:00:00Z", NOW), ("1960-01-01T00:00:00Z", 0)):
        odd = parse({**WHOLE, "messages": [{**HELLO, "created_at": given}]})
        assert (bodies(odd)[0]["created_at"], odd.batches[0].at_ms) == (given, at_ms)


def test_a_conversation_without_messages_is_one() -> None:
    """It is created, with nothing to append."""
    conversation = parse({**WHOLE, "messages": []})
    assert [(list(batch.messages), batch.at_ms) for batch in conversation.batches] == [([], NOW)]


def test_a_conversation_without_a_title_is_titled_from_its_first_user_message() -> None:
    """As one that begins with an append is."""
    untitled = {name: value for name, value in WHOLE.items() if name != "title"}
    assert parse(untitled).state.title == "hello"


def test_a_long_conversation_goes_in_parts() -> None:
    """None larger than a gateway would take in one request, by number or by size."""
    many = {**WHOLE, "messages": [HELLO] * 2500}
    assert [len(batch.messages) for batch in parse(many).batches] == [1000, 1000, 500]
    large = {**WHOLE, "messages": [{"content": "x" * 900}] * 5}
    assert [len(batch.messages) for batch in parse(large, max_body_bytes=2048).batches] == [2, 2, 1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"conversation_id": "c-1"}, "conversation_id"),
        ({"conversation_id": None}, "conversation_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a\tb"}, "user_id"),
        ({"title": 5}, "title"),
        ({"title": "x" * 501}, "title"),
        ({"model": ""}, "model"),
        ({"metadata": []}, "metadata"),
        ({"created_at": "March"}, "created_at"),
        ({"messages": None}, "messages"),
        ({"messages": [HELLO, "text"]}, "messages.1"),
        ({"messages": [HELLO, {**BYE, "role": 5}]}, "messages.1.role"),
        ({"messages": [{**HELLO, "content": "a\0b"}]}, "messages.0.content"),
        ({"messages": [{**HELLO, "id": "a"}, {**BYE, "id": "a"}]}, "messages.1.id"),
        ({"mesages": []}, "mesages"),
    ],
)
def test_a_refusal_names_the_field(changes: dict[str, Any], field: str) -> None:
    """By the rules of the gateway, in its words."""
    with pytest.raises(Invalid) as refused:
        parse({**WHOLE, **changes})
    assert refused.value.errors[0].field == field


@pytest.mark.parametrize("text", [b"{", b"not json", b'{"a":1}{"b":2}', b"\xff\xfe"])
def test_what_is_not_json_is_said_to_be_so(text: bytes) -> None:
    """With the place where it ends to be."""
    with pytest.raises(NotJson, match="line 1 column"):
        parse(text)


def test_files_are_read_line_by_line(tmp_path: Path) -> None:
    """Blank lines, a last line without its break and the mark that some editors write are no matter."""
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\n{"a":2}')
    two.write_bytes(b'{"a":3}\n')
    lines = [line for line in read_lines([one, two]) if line.text]
    assert [(line.place, line.text) for line in lines] == [
        (f"{one}:1", b'{"a":1}'),
        (f"{one}:3", b'{"a":2}'),
        (f"{two}:1", b'{"a":3}'),
    ]
    assert sum(line.size for line in read_lines([one, two])) == one.stat().st_size + two.stat().st_size


def test_the_summary_says_what_was_done() -> None:
    """A rate only where something was published; one line where there was nothing at all."""
    assert summary(Tally(), 0.1) == "nothing to import: no conversations were found"
    again = summary(Tally(known=2, known_messages=56_878), 3.9)
    assert again.endswith("\nnothing new: checked 56,878 messages in 3.9 s")
    first = summary(Tally(new=1, new_messages=10), 2.0)
    assert first.endswith("\npublished in 2.0 s: 5 messages/s")
    assert "lines refused" in summary(Tally(refused=1), 1.0)

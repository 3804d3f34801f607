"""The event contract, version 1: what is written is what is read, and what is no event is refused."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from common.contract.schema import contract_document, contract_schema
from common.contract.stream import decode, encode
from common.domain.errors import MalformedEvent, UnsupportedVersion
from common.domain.events import EVENT, ConversationEvent, MessagesAppended, QueryLogged
from tests.events import EVENTS
from tools.paths import ROOT

ID = "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
STATE = b'{"title":"A","model":null,"created_at":"2026-01-01T00:00:00Z","metadata":{"a":1}}'
BODY = b'{"id":"m-1","role":"user","content":"hello"}'
OF_ONE = {b"v": b"1", b"user": b"alice", b"at": b"1", b"conversation": ID.encode(), b"version": b"2"} | {
    b"epoch": b"1"
}
MESSAGE = {b"message_id": b"m-1", b"sequence": b"3"}
ENTRIES: dict[str, dict[bytes, bytes]] = {
    "conversation.created": {**OF_ONE, b"state": STATE},
    "conversation.updated": {**OF_ONE, b"state": STATE},
    "conversation.deleted": OF_ONE,
    "messages.appended": {**OF_ONE, b"first": b"0", b"n": b"2", b"m0": BODY, b"m1": BODY},
    "message.edited": {**OF_ONE, **MESSAGE, b"m0": BODY},
    "message.deleted": {**OF_ONE, **MESSAGE},
    "conversation.truncated": {**OF_ONE, b"after": b"-1", b"next": b"7"},
    "query.logged": {b"v": b"1", b"user": b"alice", b"at": b"1", b"log_id": b"q", b"log": b'{"a":1}'},
}


def entry(kind: str, **changes: bytes) -> dict[bytes, bytes]:
    """A good stream entry of `kind`, some of its fields changed."""
    return {**ENTRIES[kind], b"type": kind.encode(), **{k.encode(): v for k, v in changes.items()}}


@given(EVENTS)
def test_an_event_survives_the_stream(event: ConversationEvent | QueryLogged) -> None:
    """Every kind, with unknown message fields, integers of any size and any text."""
    assert decode(encode(event)) == event


@given(EVENTS)
def test_an_event_survives_being_written_as_json(event: ConversationEvent | QueryLogged) -> None:
    """Message bodies and metadata are objects there, not text in text."""
    again = EVENT.validate_json(EVENT.dump_json(event))
    assert EVENT.dump_python(again, mode="json") == EVENT.dump_python(event, mode="json")


def test_a_body_is_the_same_bytes_after_the_stream() -> None:
    """Nothing parses and re-writes a message: neither its digits nor the order of its keys change."""
    body = b'{"z":1e2,"a":1.10,"id":"m","n":123456789012345678901234567890}'
    event = decode(entry("messages.appended", n=b"1", m0=body))
    assert isinstance(event, MessagesAppended)
    assert event.bodies == (body,)
    assert encode(event)[b"m0"] == body


@pytest.mark.parametrize("version", [b"2", b"0", b"01", b"", b"one", b"\xff"])
def test_an_unknown_version_is_not_guessed_at(version: bytes) -> None:
    """Whatever else the entry holds; the error is its own, so that it can be parked as what it is."""
    with pytest.raises(UnsupportedVersion):
        decode(entry("messages.appended", v=version))


def test_an_entry_without_a_version_is_of_no_known_version() -> None:
    """Something else entirely may have been written to the stream."""
    with pytest.raises(UnsupportedVersion):
        decode({b"hello": b"world"})


@pytest.mark.parametrize(
    "fields",
    [
        entry("messages.appended", type=b"messages.forgotten"),
        entry("messages.appended", type=b"\xff"),
        entry("messages.appended", n=b"0"),
        entry("messages.appended", n=b"3"),
        entry("messages.appended", n=b"999999999999999999"),
        entry("messages.appended", first=b"-1"),
        entry("messages.appended", first=b"1_0"),
        entry("messages.appended", first=b" 1"),
        entry("messages.appended", first=b"9" * 19),
        entry("messages.appended", first=b"9" * 5000),
        entry("messages.appended", m0=b"not json"),
        entry("messages.appended", m0=b"[]"),
        entry("messages.appended", m0=b"{}"),
        entry("messages.appended", m0=b'{"id":5}'),
        entry("messages.appended", m0=b'{"id":"\\ud800"}'),
        entry("messages.appended", m0=b'{"id":"a","deep":' + b"[" * 9999 + b"]" * 9999 + b"}"),
        entry("messages.appended", user=b""),
        entry("messages.appended", user=b"\xff"),
        entry("messages.appended", conversation=b"no-uuid"),
        entry("messages.appended", conversation=ID.upper().encode()),
        entry("messages.appended", at=b"99999999999999999"),
        entry("conversation.created", state=b"[]"),
        entry("conversation.created", state=b"null"),
        entry("conversation.created", state=STATE.replace(b'"A"', b"5")),
        entry("conversation.created", state=STATE.replace(b'{"a":1}', b"[]")),
        entry("conversation.created", state=STATE.replace(b'{"a":1}', b"null")),
        entry("conversation.created", state=STATE.replace(b"2026-01-01T", b"2026-13-01T")),
        entry("conversation.truncated", after=b"-2"),
        entry("message.edited", message_id=b""),
        entry("query.logged", log=b"[]"),
        entry("query.logged", log=b""),
    ],
)
def test_what_is_no_event_is_refused(fields: dict[bytes, bytes]) -> None:
    """With one kind of error, however it is wrong: it is parked, and nothing of it is guessed."""
    with pytest.raises(MalformedEvent):
        decode(fields)


@pytest.mark.parametrize("kind", ENTRIES)
def test_every_field_is_needed(kind: str) -> None:
    """An entry that lacks one is refused, by us and by the schema."""
    whole = entry(kind)
    decode(whole)
    assert accepted(whole)
    for name in whole.keys() - {b"v"}:
        fields = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(MalformedEvent):
            decode(fields)
        # How many messages there must be is more than JSON Schema can say.
        assert name == b"m1" or not accepted(fields)


@pytest.mark.parametrize("kind", ENTRIES)
def test_fields_that_are_not_known_are_left_alone(kind: str) -> None:
    """So that a publisher may add a trace to an entry."""
    fields = entry(kind, traceparent=b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert decode(fields) == decode(entry(kind))
    assert accepted(fields)


@given(
    st.dictionaries(st.sampled_from([b"user", b"at", b"type", b"state", b"m0", b"n", b"log"]), st.binary())
)
def test_no_bytes_make_another_error(changes: dict[bytes, bytes]) -> None:
    """Decoding ends in an event or in an error of ours: a consumer never trips over an entry."""
    for kind in ENTRIES:
        try:
            decode(entry(kind) | changes)
        except MalformedEvent:
            continue


@given(EVENTS)
def test_every_event_fits_the_json_schema(event: ConversationEvent | QueryLogged) -> None:
    """In both of its forms, and as that kind of event alone."""
    validator("Event").validate(from_json(EVENT.dump_json(event)))
    fields = encode(event)
    validator("StreamEntry").validate(as_text(fields))
    texts = {name: fields[name] for name in (b"state", b"m0", b"log") if name in fields}
    for name, text in texts.items():
        validator("State" if name == b"state" else None).validate(from_json(text))


@pytest.mark.parametrize(
    "change",
    [{"version": -1}, {"epoch": "1"}, {"type": "other"}, {"bodies": []}, {"bodies": [{}]}, {"more": 1}],
)
def test_the_json_schema_refuses_what_we_refuse(change: dict[str, Any]) -> None:
    """An event written as JSON is checked to the same end by either."""
    event = EVENT.dump_python(decode(entry("messages.appended")), mode="json") | change
    assert not validator("Event").is_valid(event)
    with pytest.raises(ValueError, match="validation error"):
        EVENT.validate_json(to_json(event), strict=True)


def test_the_committed_schema_is_current() -> None:
    """`./turnlog schema > docs/contract/v1.schema.json` after a change of the contract, and think twice."""
    assert (ROOT / "docs" / "contract" / "v1.schema.json").read_text() == contract_document()


def test_the_schema_is_a_json_schema() -> None:
    """Every reference of it leads somewhere."""
    schema = contract_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references <= schema["$defs"].keys()


@cache
def validator(name: str | None) -> jsonschema.Draft202012Validator:
    """A validator for one definition of the contract; None: for any object."""
    schema = contract_schema() if name else {"type": "object"}
    schema.pop("anyOf", None)
    if name:
        schema["$ref"] = f"#/$defs/{name}"
    return jsonschema.Draft202012Validator(schema)


def as_text(fields: dict[bytes, bytes]) -> dict[str, str]:
    """A stream entry as clients of Redis see it."""
    return {name.decode(): value.decode() for name, value in fields.items()}


def accepted(fields: dict[bytes, bytes]) -> bool:
    """Whether the JSON Schema takes a stream entry."""
    return validator("StreamEntry").is_valid(as_text(fields))

"""The event contract as JSON Schema, for publishers and consumers in any language.

Two forms are described: `Event`, an event written as one JSON object, and `StreamEntry`, the same event as
it stands on the stream, a flat list of text fields.
"""

from __future__ import annotations

import json
from typing import Any, Final

from common.domain.events import CONTRACT_VERSION, EVENT
from common.domain.ids import CANONICAL_UUID, MAX_USER_ID_CHARS

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EVENTS: Final = "#/$defs/"


def contract_schema() -> Schema:
    """The whole contract; `$defs` has every event by name, and its stream entry as `<name>Entry`."""
    events = EVENT.json_schema(mode="serialization", ref_template=f"{_EVENTS}{{model}}")
    definitions: Schema = {name: _tidied(shape) for name, shape in events["$defs"].items()}
    by_type: dict[str, str] = {
        kind: reference.removeprefix(_EVENTS)
        for kind, reference in events["discriminator"]["mapping"].items()
    }
    for name in by_type.values():
        definitions[name]["required"] = list(definitions[name]["properties"])
    entries = {f"{name}Entry": _entry(kind, definitions[name]) for kind, name in by_type.items()}
    return {
        "$schema": _DIALECT,
        "$id": f"urn:turnlog:contract:v{CONTRACT_VERSION}",
        "title": f"Turnlog event contract, version {CONTRACT_VERSION}",
        "anyOf": [{"$ref": f"{_EVENTS}Event"}, {"$ref": f"{_EVENTS}StreamEntry"}],
        "$defs": {
            "Event": _any_of(by_type.values(), "An event, written as a JSON object."),
            "StreamEntry": _any_of(entries, "An event as a stream entry: every value is text."),
            **definitions,
            **entries,
        },
    }


def contract_document() -> str:
    """The schema as the text that is committed in `docs/contract/`."""
    return json.dumps(contract_schema(), indent=2, ensure_ascii=False) + "\n"


def _any_of(names: Any, description: str) -> Schema:
    return {"description": description, "oneOf": [{"$ref": f"{_EVENTS}{name}"} for name in names]}


def _tidied(shape: Schema) -> Schema:
    """Without pydantic's titles, which repeat the property's name, and defaults, which are always written."""
    for field in shape["properties"].values():
        field.pop("title", None)
        field.pop("default", None)
    return shape


def _text(description: str, **rules: object) -> Schema:
    return {"type": "string", "description": description, **rules}


def _number(description: str, pattern: str = "^[0-9]{1,19}$") -> Schema:
    return _text(description, pattern=pattern)


def _json(description: str, content: Schema) -> Schema:
    return _text(description, contentMediaType="application/json", contentSchema=content)


_BODY: Final[Schema] = _json(
    "A message: the JSON object that is kept and served, without `sequence_number`.",
    {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
)
_STATE: Final[Schema] = _json("The whole state after this event.", {"$ref": f"{_EVENTS}State"})
_CONVERSATION: Final = _text("Its UUID, in lower case.", pattern=CANONICAL_UUID)
_MESSAGE: Final[Schema] = {
    "message_id": _text("The message's id.", minLength=1),
    "sequence": _number("The message's sequence number."),
}
_CLOCK: Final[Schema] = {
    "conversation": _CONVERSATION,
    "version": _number("The conversation's clock: one up with each event."),
    "epoch": _number("1; a delete raises it."),
}
_FIELDS: Final[dict[str, Schema]] = {
    "conversation.created": {**_CLOCK, "state": _STATE},
    "conversation.updated": {**_CLOCK, "state": _STATE},
    "conversation.deleted": _CLOCK,
    "messages.appended": {
        **_CLOCK,
        "first": _number("The sequence number of the first message."),
        "n": _number("How many messages there are: `m0` to `m<n-1>`."),
        "m0": _BODY,
    },
    "message.edited": {**_CLOCK, **_MESSAGE, "m0": _BODY},
    "message.deleted": {**_CLOCK, **_MESSAGE},
    "conversation.truncated": {
        **_CLOCK,
        "after": _number("Messages after this number are gone; -1: all.", "^(-1|[0-9]{1,19})$"),
        "next": _number("The next sequence number at that time: what comes later stays."),
    },
    "query.logged": {
        "log_id": _text("The deduplication key.", minLength=1),
        "log": _json("What the client logged.", {"type": "object"}),
    },
}


def _entry(kind: str, event: Schema) -> Schema:
    fields: Schema = {
        "v": _text("The contract's version.", const=str(CONTRACT_VERSION)),
        "type": _text("The kind of event.", const=kind),
        "user": _text("The owner.", minLength=1, maxLength=MAX_USER_ID_CHARS),
        "at": _number("When it happened, milliseconds since 1970 UTC."),
        **_FIELDS[kind],
    }
    entry: Schema = {
        "description": event["description"],
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": {"type": "string"},
    }
    if kind == "query.logged":
        entry["properties"] = {**fields, "conversation": _CONVERSATION}
    if kind == "messages.appended":
        entry["patternProperties"] = {"^m[0-9]+$": _BODY}
    return entry

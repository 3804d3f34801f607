"""Events as stream entries, and back. The one place that knows the field names of contract version 1.

An entry is a flat list of text fields, so that a Redis function, or a publisher in any language, can
write one without a library:

| field | in | is |
|---|---|---|
| `v`, `type`, `user`, `at` | all | contract version, event type, owner, unix milliseconds |
| `conversation`, `version`, `epoch` | all but query.logged | which one, and its clock |
| `state` | conversation.created, .updated | JSON: title, model, created_at, metadata |
| `first`, `n`, `m0` … | messages.appended | first sequence number, how many, one JSON body each |
| `message_id`, `sequence`, `m0` | message.edited, message.deleted (no `m0`) | which message; its new body |
| `after`, `next` | conversation.truncated | numbers after `after` and below `next` are gone |
| `log_id`, `log` | query.logged | deduplication key, JSON object |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from common.domain.errors import MalformedEvent, UnsupportedVersion
from common.domain.events import (
    CONTRACT_VERSION,
    EVENT,
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
    QueryLogged,
)

Fields = Mapping[bytes, bytes]
_NUMBER = re.compile(rb"-?[0-9]{1,19}")


def decode(fields: Fields) -> ConversationEvent | QueryLogged:
    """The event that a stream entry holds.

    Raises UnsupportedVersion for another contract version (parked, never guessed at) and
    MalformedEvent for anything that is not an event.
    """
    version = fields.get(b"v", b"")
    if version != b"%d" % CONTRACT_VERSION:
        raise UnsupportedVersion(f"contract version {version.decode(errors='replace')!r} is not known")
    try:
        kind = fields[b"type"].decode()
        parser = _PARSERS.get(kind)
        if parser is None:
            raise MalformedEvent(f"event type {kind!r} is not in contract version {CONTRACT_VERSION}")
        return EVENT.validate_python({"type": kind, **_common(fields), **parser(fields)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedEvent(f"{where}: {first['msg']}") from error
    except (KeyError, ValueError) as error:
        raise MalformedEvent(f"not an event: {error!r}") from error


def encode(event: ConversationEvent | QueryLogged) -> dict[bytes, bytes]:
    """The stream entry of `event`; `decode(encode(e)) == e`."""
    fields = {
        b"v": b"%d" % CONTRACT_VERSION,
        b"type": event.type.encode(),
        b"user": event.user_id.encode(),
        b"at": b"%d" % event.at_ms,
    }
    if isinstance(event, QueryLogged):
        if event.conversation_id:
            fields[b"conversation"] = event.conversation_id.encode()
        return fields | {b"log_id": event.log_id.encode(), b"log": to_json(event.log)}
    fields |= {
        b"conversation": event.conversation_id.encode(),
        b"version": b"%d" % event.version,
        b"epoch": b"%d" % event.epoch,
    }
    return fields | _payload(event)


def _payload(event: ConversationEvent) -> dict[bytes, bytes]:
    match event:
        case ConversationCreated() | ConversationUpdated():
            return {b"state": event.state.to_json()}
        case ConversationDeleted():
            return {}
        case MessagesAppended():
            bodies = {b"m%d" % i: bytes(body) for i, body in enumerate(event.bodies)}
            first = b"%d" % event.first_sequence_number
            return {b"first": first, b"n": b"%d" % len(event.bodies), **bodies}
        case MessageEdited():
            return {**_which(event), b"m0": bytes(event.body)}
        case MessageDeleted():
            return _which(event)
        case ConversationTruncated():
            return {
                b"after": b"%d" % event.after_sequence_number,
                b"next": b"%d" % event.next_sequence_number,
            }
        case _:
            assert_never(event)


def _which(event: MessageEdited | MessageDeleted) -> dict[bytes, bytes]:
    return {b"message_id": event.message_id.encode(), b"sequence": b"%d" % event.sequence_number}


def _common(fields: Fields) -> dict[str, Any]:
    known: dict[str, Any] = {"user_id": fields[b"user"].decode(), "at_ms": _number(fields, b"at")}
    if b"conversation" in fields:
        known["conversation_id"] = fields[b"conversation"].decode()
    if b"version" in fields:
        known["version"] = _number(fields, b"version")
        known["epoch"] = _number(fields, b"epoch")
    return known


def _number(fields: Fields, name: bytes) -> int:
    # int() takes more than the contract does: blanks, underscores, a plus.
    if not _NUMBER.fullmatch(fields[name]):
        raise ValueError(f"{name.decode()} is not a whole number")
    return int(fields[name])


def _state(fields: Fields) -> dict[str, Any]:
    return {"state": from_json(fields[b"state"])}


def _bodies(fields: Fields) -> dict[str, Any]:
    count = _number(fields, b"n")
    return {
        "first_sequence_number": _number(fields, b"first"),
        "bodies": tuple(fields[b"m%d" % i] for i in range(count)),
    }


def _message(fields: Fields) -> dict[str, Any]:
    return {
        "message_id": fields[b"message_id"].decode(),
        "sequence_number": _number(fields, b"sequence"),
    }


def _edited(fields: Fields) -> dict[str, Any]:
    return {**_message(fields), "body": fields[b"m0"]}


def _truncated(fields: Fields) -> dict[str, Any]:
    return {
        "after_sequence_number": _number(fields, b"after"),
        "next_sequence_number": _number(fields, b"next"),
    }


def _nothing(_: Fields) -> dict[str, Any]:
    return {}


def _log(fields: Fields) -> dict[str, Any]:
    return {"log_id": fields[b"log_id"].decode(), "log": from_json(fields[b"log"])}


_PARSERS: Final[dict[str, Callable[[Fields], dict[str, Any]]]] = {
    "conversation.created": _state,
    "conversation.updated": _state,
    "conversation.deleted": _nothing,
    "messages.appended": _bodies,
    "message.edited": _edited,
    "message.deleted": _message,
    "conversation.truncated": _truncated,
    "query.logged": _log,
}

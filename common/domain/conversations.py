"""A conversation's header: everything about it but its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import from_json, to_json

from common.domain.ids import ConversationId, isoformat_ms
from common.domain.messages import Timestamp


def _object_text(value: object) -> bytes:
    """A JSON object as its text, from its text or from the parsed object."""
    if isinstance(value, Mapping):
        return to_json(value)
    if not isinstance(value, (bytes, str)):
        raise ValueError("must be a JSON object")
    text = value.encode() if isinstance(value, str) else value
    if not isinstance(from_json(text), dict):
        raise ValueError("must be a JSON object")
    return text


ObjectText = Annotated[
    bytes,
    BeforeValidator(_object_text),
    PlainSerializer(from_json, when_used="json"),
    WithJsonSchema({"type": "object"}),
]
"""A JSON object, kept as text; in an event written as JSON it is the object itself."""


@dataclass(frozen=True, slots=True)
class State:
    """What its owner can set. `metadata` is JSON text, kept as it was sent; the rest is plain."""

    title: str | None
    model: str | None
    metadata: ObjectText
    created_at: Timestamp

    def to_json(self) -> bytes:
        """The `state` of a created or updated event."""
        return b'{"title":%b,"model":%b,"created_at":%b,"metadata":%b}' % (
            to_json(self.title),
            to_json(self.model),
            to_json(self.created_at),
            self.metadata,
        )


@dataclass(frozen=True, slots=True)
class Header:
    """One conversation as it stands. Times in milliseconds since 1970 UTC.

    `next_sequence_number` is never given out before; `version` counts the events applied;
    `epoch` is raised by a delete. A deleted header keeps these three and nothing else of worth.
    """

    id: ConversationId
    state: State
    last_modified_ms: int
    next_sequence_number: int
    message_count: int
    preview: str | None
    version: int
    epoch: int = 1
    deleted: bool = False

    @property
    def order(self) -> tuple[int, str]:
        """Where it stands among its user's conversations: newest first is this, descending."""
        return self.last_modified_ms, self.id

    def summary(self) -> bytes:
        """The row of a conversation list, less `last_modified` and its closing brace.

        The cached list keeps the time as the sorted set's score, so the text is finished by
        `finish_summary`.
        """
        return (
            b'{"conversation_id":"%b","title":%b,"model":%b,"created_at":%b,"message_count":%d,"preview":%b'
            % (
                self.id.encode(),
                to_json(self.state.title),
                to_json(self.state.model),
                to_json(self.state.created_at),
                self.message_count,
                to_json(self.preview),
            )
        )

    def served(self) -> bytes:
        """The header as a client receives it, a JSON object."""
        return b'%b,"metadata":%b}' % (
            finish_summary(self.summary(), self.last_modified_ms)[:-1],
            self.state.metadata,
        )


def finish_summary(summary: bytes, last_modified_ms: int) -> bytes:
    """A row of a conversation list as a client receives it."""
    return b'%b,"last_modified":"%b"}' % (summary, isoformat_ms(last_modified_ms).encode())


def metadata_json(metadata: dict[str, Any] | None) -> bytes:
    """`metadata` as the JSON text that is kept."""
    return to_json(metadata or {})

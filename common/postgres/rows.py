"""Rows as they are written: a message's or a log's JSON, kept as it is, and copies of what is in it.

The JSON is the record. The copies are for people's queries: a field that does not fit its column is left
out of the column, never out of the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic_core import to_json

from common.domain.events import MessageBody, MessageEdited, MessagesAppended, QueryLogged
from common.domain.ids import ConversationId, UserId
from common.domain.messages import BIGINT_MAX, message_text, parse_timestamp, preview_of
from common.postgres.search_words import vector_text

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A row of `messages`, and the preview that it would leave behind. `search` is what it is found by."""

    user_id: UserId
    conversation_id: ConversationId
    sequence_number: int
    id: str
    role: str | None
    created_at: datetime
    tokens_used: int | None
    latency_ms: float | None
    model: str | None
    payload: bytes
    version: int
    edited: bool
    preview: str | None
    search: str


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of `query_logs`."""

    user_id: UserId
    log_id: str
    conversation_id: ConversationId | None
    at: datetime
    tokens_used: int | None
    latency_ms: float | None
    payload: bytes


def message_rows(event: MessagesAppended, at: datetime) -> list[MessageRow]:
    """The rows of newly appended messages, ascending. `at` is when, where a message does not say."""
    return [
        _message_row(event, event.first_sequence_number + i, body, at) for i, body in enumerate(event.bodies)
    ]


def edited_row(event: MessageEdited, at: datetime) -> MessageRow:
    """The row of a message as an edit leaves it."""
    return _message_row(event, event.sequence_number, event.body, at)


def log_row(event: QueryLogged, at: datetime) -> LogRow:
    """The row of a logged query."""
    return LogRow(
        user_id=event.user_id,
        log_id=event.log_id,
        conversation_id=event.conversation_id,
        at=at,
        tokens_used=_count(event.log.get("tokens_used")),
        latency_ms=_measure(event.log.get("latency_ms")),
        payload=to_json(event.log),
    )


def body_preview(body: bytes) -> str | None:
    """The preview that the message with this body leaves behind; None where it says nothing."""
    return preview_of([message_text(MessageBody(body).fields.get("content"))])


def _message_row(
    event: MessagesAppended | MessageEdited, number: int, body: MessageBody, at: datetime
) -> MessageRow:
    fields = body.fields
    text = message_text(fields.get("content"))
    return MessageRow(
        user_id=event.user_id,
        conversation_id=event.conversation_id,
        sequence_number=number,
        id=fields["id"],
        role=_text(fields.get("role")),
        created_at=_time(fields.get("created_at"), at),
        tokens_used=_count(fields.get("tokens_used")),
        latency_ms=_measure(fields.get("latency_ms")),
        model=_text(fields.get("model")),
        payload=bytes(body),
        version=event.version,
        edited=isinstance(event, MessageEdited),
        preview=preview_of([text]),
        search=vector_text(event.user_id, text),
    )


def message_time(fields: Mapping[str, object]) -> datetime:
    """When a message with these fields was made, as its row says; where they do not say, long ago."""
    return _time(fields.get("created_at"), _LONG_AGO)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > BIGINT_MAX:
        return None
    return value


def _measure(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _time(value: object, otherwise: datetime) -> datetime:
    try:
        return parse_timestamp(value) if isinstance(value, str) else otherwise
    except ValueError:
        return otherwise

"""One line of a file: read, checked as the gateway checks a request, made ready to be appended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from common.checks.conversations import check_state, first_state
from common.checks.errors import FieldError, Invalid
from common.checks.fields import Strict, validate
from common.checks.json_text import parse_json
from common.checks.messages import ready_messages
from common.domain.conversations import State
from common.domain.ids import (
    ConversationId,
    MessageId,
    UserId,
    derived_id,
    isoformat_ms,
    parse_conversation_id,
    parse_user_id,
)
from common.domain.messages import NewMessage, ShortText, Timestamp, timestamp_ms
from common.settings import LimitsSettings

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it stands in its file; `size` in bytes, the line break included."""

    path: Path
    number: int
    text: bytes
    size: int

    @property
    def place(self) -> str:
        """Where it is, as editors understand it."""
        return f"{self.path}:{self.number}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that go into one append, and when the last of them was."""

    messages: Sequence[NewMessage]
    at_ms: int


@dataclass(frozen=True, slots=True)
class ImportedConversation:
    """A conversation ready to be published; without a message it has one batch without any."""

    user: UserId
    id: ConversationId
    state: State
    batches: list[Batch]


class _Fields(Strict):
    """What a line may hold."""

    conversation_id: str
    user_id: str | None = None
    title: str | None = None
    model: ShortText | None = None
    metadata: dict[str, Any] | None = None
    created_at: Timestamp | None = None
    messages: list[Any]


_FIELDS: Final = TypeAdapter(_Fields)


def read_lines(paths: Iterable[Path]) -> Iterator[Line]:
    """Every line of the files that is not blank, read as it is asked for."""
    for path in paths:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw
                yield Line(path, number, text.strip(), len(raw))


def parse_line(
    line: Line, limits: LimitsSettings, *, now_ms: int, user: UserId | None = None
) -> ImportedConversation:
    """The conversation on a line, of `user` or of the line's own.

    Messages without an id get one derived from their place, so that importing again finds them. Raises
    Invalid, which names the wrong fields, and NotJson.
    """
    # A message that was sent alone stands two levels deeper on a line.
    fields = validate(_FIELDS, parse_json(line.text, limits.max_depth + 2))
    check_state(fields.title, fields.metadata, limits)
    owner = user or _owner(fields.user_id)
    conversation = parse_conversation_id(fields.conversation_id)
    if conversation is None:
        raise Invalid(FieldError("conversation_id", "must be a UUID, written with its hyphens"))
    began_ms = timestamp_ms(fields.created_at) if fields.created_at else None
    messages = ready_messages(
        fields.messages,
        at_ms=now_ms if began_ms is None else began_ms,
        limits=limits,
        derived=lambda index: MessageId(derived_id(owner, conversation, str(index))),
    )
    times = [_time_ms(message, began_ms, now_ms) for message in fields.messages]
    state = first_state(
        title=fields.title,
        model=fields.model,
        metadata=fields.metadata,
        created_at=isoformat_ms(began_ms if began_ms is not None else (times or [now_ms])[0]),
        messages=messages,
    )
    batches = [*_batches(messages, times, limits, now_ms)] or [Batch((), _event_time([], began_ms, now_ms))]
    return ImportedConversation(owner, conversation, state, batches)


def _owner(user_id: str | None) -> UserId:
    if user_id is None:
        raise Invalid(FieldError("user_id", "is required (or name the user with --user)"))
    owner = parse_user_id(user_id)
    if owner is None:
        raise Invalid(FieldError("user_id", "must be 1 to 200 characters, none of them a control character"))
    return owner


def _time_ms(message: dict[str, Any], began_ms: int | None, now_ms: int) -> int:
    given = message.get("created_at")
    if given is not None:
        return timestamp_ms(given)
    return now_ms if began_ms is None else began_ms


def _batches(
    messages: Sequence[NewMessage], times: Sequence[int], limits: LimitsSettings, now_ms: int
) -> Iterator[Batch]:
    """Runs of `messages` that a gateway would take in one request each."""
    start, size = 0, 0
    for index, message in enumerate(messages):
        count = index - start
        if count == limits.max_batch_messages or (count and size + len(message.body) > limits.max_body_bytes):
            yield Batch(messages[start:index], _event_time(times[start:index], None, now_ms))
            start, size = index, 0
        size += len(message.body)
    if start < len(messages):
        yield Batch(messages[start:], _event_time(times[start:], None, now_ms))


def _event_time(times: Sequence[int], began_ms: int | None, now_ms: int) -> int:
    """When a batch was, for `last_modified`: history's time, not the import's, and never the future."""
    last = max(times, default=now_ms if began_ms is None else began_ms)
    return min(max(0, last), now_ms)

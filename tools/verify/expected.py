"""What Redis should say of a conversation: the record with what is pending laid over it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from common.domain.conversations import Header, State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageDeleted,
    MessageEdited,
)
from common.domain.messages import Numbered, message_text, parse_body, preview_of
from common.domain.overlay import OnRecord, Pending, overlay, overlay_header, pending_messages
from common.postgres.audit import RecordLook


@dataclass(frozen=True, slots=True)
class Expected:
    """The state that every reader should see. `messages` are the newest, ascending: all of them from
    `floor` on. `preview_known` is False where it lies deeper than was read."""

    header: Header
    messages: list[Numbered]
    floor: int
    preview_known: bool


def expect(record: RecordLook | None, events: Sequence[ConversationEvent], newest: int) -> Expected | None:
    """Lay `events` over `record`, of which the `newest` messages were read; None where there is nothing.

    Unlike `overlay_header`, exact where events were committed out of their order: what is pending and in
    the record at once is counted once.
    """
    header = overlay_header(record.header if record else None, events)
    if header is None:
        return None
    pending = pending_messages(events)
    header = replace(
        header,
        last_modified_ms=max([header.last_modified_ms, *(event.at_ms for event in events)]),
        next_sequence_number=max(
            [_next(record), header.next_sequence_number, *(n + 1 for n in pending.touched)]
        ),
        version=max([header.version, *(event.version for event in events)]),
        epoch=max([header.epoch, *(event.epoch for event in events)]),
    )
    if header.deleted or any(isinstance(event, ConversationDeleted) for event in events):
        return Expected(replace(header, deleted=True, message_count=0), [], 0, False)
    if record is not None:
        pending = pending.beside(_known(record, pending))
    messages = overlay(record.newest if record else [], pending)
    full = record is not None and len(record.newest) >= newest
    floor = record.newest[0].sequence_number if record is not None and full else 0
    preview, known = _preview(record, events, pending, messages)
    header = replace(
        header,
        state=_state(record, events, header),
        message_count=(record.rows_untouched if record else 0) + len(pending.bodies),
        preview=preview,
    )
    return Expected(header, [m for m in messages if m.sequence_number >= floor], floor, known)


def _known(record: RecordLook, pending: Pending) -> Iterator[OnRecord]:
    """What the record has of pending messages, as far as it was read."""
    for number in record.removed:
        yield OnRecord(number, None, 0, gone=True)
    for message in record.newest:
        laid_over = pending.bodies.get(message.sequence_number)
        if laid_over is not None and _id(laid_over) == _id(message):
            version = record.versions[message.sequence_number]
            yield OnRecord(message.sequence_number, message.body, version, gone=False)


def _id(message: Numbered) -> object:
    return parse_body(message.body).get("id")


def _next(record: RecordLook | None) -> int:
    return 0 if record is None or record.highest is None else record.highest + 1


def _state(record: RecordLook | None, events: Sequence[ConversationEvent], header: Header) -> State:
    version, state = (record.state_version, record.header.state) if record else (-1, header.state)
    for event in events:
        if isinstance(event, ConversationCreated | ConversationUpdated) and event.version > version:
            version, state = event.version, event.state
    return state


def _preview(
    record: RecordLook | None,
    events: Sequence[ConversationEvent],
    pending: Pending,
    messages: Sequence[Numbered],
) -> tuple[str | None, bool]:
    """The last word: of what was read, else of the record, unless a pending event has touched that."""
    for message in reversed(messages):
        preview = preview_of([message_text(parse_body(message.body).get("content"))])
        if preview is not None:
            return preview, True
    if record is None:
        return None, True
    touching = any(isinstance(e, MessageEdited | MessageDeleted | ConversationTruncated) for e in events)
    if record.preview_sequence in pending.hidden or touching:
        return None, False
    return record.header.preview, True

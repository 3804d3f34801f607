"""Pending events laid over what the record holds: the state a reader must see.

Pure functions; events are applied in the order of their versions, and an event the record has already
taken in changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from common.domain.conversations import Header, State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
)
from common.domain.ids import isoformat_ms
from common.domain.messages import Numbered, message_text, preview_of


@dataclass(frozen=True, slots=True)
class Pending:
    """What pending events say about messages: bodies to show, and numbers to hide.

    `versions` are those of the events that the bodies are from. Beside the record: `recorded` are the
    numbers whose messages it has or had, wherever.
    """

    bodies: dict[int, Numbered]
    hidden: frozenset[int]
    versions: Mapping[int, int] = field(default_factory=dict[int, int])
    recorded: frozenset[int] = frozenset()

    @property
    def touched(self) -> list[int]:
        """Every sequence number the record's answer is not to be trusted for, ascending."""
        return sorted(self.hidden | self.bodies.keys())

    def beside(self, record: Iterable[OnRecord]) -> Pending:
        """The same where the record knows more: events may be committed before others that came first, or
        come to be pending once more, when Redis has forgotten that they are settled."""
        bodies, hidden, recorded = dict(self.bodies), set(self.hidden), set[int]()
        for known in record:
            number = known.sequence_number
            if known.gone or known.body is not None:
                recorded.add(number)
            if known.gone:
                bodies.pop(number, None)
                if not known.taken:
                    hidden.add(number)
            elif known.elsewhere:
                # It stands where the record has it, whatever its event says (ADR 0091); here stands another.
                bodies.pop(number, None)
            elif known.body is not None and known.version > self.versions.get(number, 0):
                bodies[number] = Numbered(number, known.body)
        return Pending(bodies, frozenset(hidden), self.versions, frozenset(recorded))


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What the record has of a message that is pending: its body there and the version of the event that is
    from, or that it is gone; `elsewhere`, at another number than the event says; `taken`, another message
    has that number there."""

    sequence_number: int
    body: bytes | None
    version: int
    gone: bool
    elsewhere: bool = False
    taken: bool = False


def pending_messages(events: Iterable[ConversationEvent]) -> Pending:
    """What `events` do to messages, whether or not the record has them already."""
    bodies: dict[int, Numbered] = {}
    versions: dict[int, int] = {}
    hidden: set[int] = set()
    for event in in_order(events):
        match event:
            case MessagesAppended():
                bodies.update({m.sequence_number: m for m in event.numbered})
                versions.update(dict.fromkeys((m.sequence_number for m in event.numbered), event.version))
            case MessageEdited():
                bodies[event.sequence_number] = Numbered(event.sequence_number, event.body)
                versions[event.sequence_number] = event.version
            case MessageDeleted() | ConversationTruncated():
                gone = removed_numbers(event)
                hidden.update(gone)
            case ConversationCreated() | ConversationUpdated() | ConversationDeleted():
                pass
            case _:
                assert_never(event)
    return Pending({n: m for n, m in bodies.items() if n not in hidden}, frozenset(hidden), versions)


def removed_numbers(event: MessageDeleted | ConversationTruncated) -> range:
    """The sequence numbers that `event` takes away."""
    match event:
        case MessageDeleted():
            return range(event.sequence_number, event.sequence_number + 1)
        case ConversationTruncated():
            return range(event.after_sequence_number + 1, event.next_sequence_number)
        case _:
            assert_never(event)


def overlay(stored: Sequence[Numbered], pending: Pending) -> list[Numbered]:
    """`stored` with `pending` laid over it, ascending by sequence number."""
    union = {message.sequence_number: message for message in stored} | pending.bodies
    return [union[number] for number in sorted(union) if number not in pending.hidden]


def in_order(events: Iterable[ConversationEvent]) -> list[ConversationEvent]:
    """`events` as they happened, each version once."""
    return [event for _, event in sorted({e.version: e for e in events}.items())]


def lacking(events: Iterable[ConversationEvent], pending: Pending) -> list[ConversationEvent]:
    """`events` without the appends that the record has; `pending` is what they say, beside that record."""
    known = pending.recorded | pending.hidden
    return [
        event
        for event in events
        if not isinstance(event, MessagesAppended)
        or any(message.sequence_number not in known for message in event.numbered)
    ]


def overlay_header(
    stored: Header | None, events: Iterable[ConversationEvent], *, all_lacking: bool = False
) -> Header | None:
    """The header after `events` that `stored` does not know yet; None where nothing was ever created.

    Only for the case that Redis lost a header while its events are still pending, which nothing but a
    hand on its keys can do: otherwise the header in Redis is the state. Title, numbers and versions are
    right after it; the message count is a lower bound where events were committed out of their order or
    messages were removed meanwhile, until the header is loaded from the record again. Where Redis came back
    older, a version may have been given twice: a deletion is final and a number is taken whatever theirs is;
    and where the caller knows that the record has none of the messages (`all_lacking`), they count.
    """
    header = stored
    for event in in_order(events):
        if header is None or event.version > header.version or isinstance(event, ConversationDeleted):
            header = _after(header, event)
        elif isinstance(event, MessagesAppended):
            header = replace(
                header,
                next_sequence_number=max(header.next_sequence_number, _end(event)),
                message_count=header.message_count + len(event.bodies) * all_lacking,
                last_modified_ms=max(header.last_modified_ms, event.at_ms),
            )
    return header


def _end(event: MessagesAppended) -> int:
    return event.first_sequence_number + len(event.bodies)


def _after(header: Header | None, event: ConversationEvent) -> Header:
    known = header or _unborn(event)
    changed = replace(
        known,
        version=max(known.version, event.version),
        epoch=max(known.epoch, event.epoch),
        last_modified_ms=max(known.last_modified_ms, event.at_ms),
    )
    match event:
        case ConversationCreated() | ConversationUpdated():
            return replace(changed, state=event.state)
        case ConversationDeleted():
            return replace(changed, deleted=True)
        case MessagesAppended():
            texts = [message_text(body.fields.get("content")) for body in event.bodies]
            return replace(
                changed,
                next_sequence_number=max(known.next_sequence_number, _end(event)),
                message_count=known.message_count + len(event.bodies),
                preview=preview_of(texts) or known.preview,
            )
        case MessageDeleted() | ConversationTruncated():
            gone = len(removed_numbers(event))
            return replace(changed, message_count=max(0, known.message_count - gone))
        case MessageEdited():
            return changed
        case _:
            assert_never(event)


def _unborn(event: ConversationEvent) -> Header:
    return Header(
        id=event.conversation_id,
        state=State(title=None, model=None, metadata=b"{}", created_at=isoformat_ms(event.at_ms)),
        last_modified_ms=event.at_ms,
        next_sequence_number=0,
        message_count=0,
        preview=None,
        version=0,
    )

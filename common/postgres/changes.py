"""What a batch of events comes to: each row once, in the one order in which rows are locked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from common.domain.conversations import State
from common.domain.events import (
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
from common.domain.ids import ConversationId, Position, UserId, isoformat_ms, position_order
from common.domain.messages import parse_timestamp
from common.domain.overlay import removed_numbers
from common.postgres.rows import LogRow, MessageRow, edited_row, log_row, message_rows

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ConversationKey = tuple[UserId, ConversationId]


class Unstorable(Exception):
    """An event that can never be stored; the text says why, without what the user wrote."""


class Collision(Unstorable):
    """A message whose id is taken by another message. (Where its number is, it gets another.)"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event and where it stands on the log; without a `position` it was never on it."""

    partition: int
    position: Position | None
    event: ConversationEvent | QueryLogged


@dataclass(frozen=True, slots=True)
class Removed:
    """A message that is gone: its number, as the event has it, and the version of the event."""

    number: int
    version: int


@dataclass(slots=True)
class ConversationChange:
    """What the events of one batch do to one conversation. Times in milliseconds since 1970 UTC."""

    user_id: UserId
    id: ConversationId
    first_at_ms: int
    last_modified_ms: int
    version: int = 0
    epoch: int = 0
    next_sequence_number: int = 0
    state: State | None = None
    state_version: int = 0
    deleted_at_ms: int | None = None
    truncated: dict[int, range] = field(default_factory=dict[int, range])
    """Numbers that are gone with all their messages, by the version of the event that removed them."""
    removed: dict[str, Removed] = field(default_factory=dict[str, Removed])
    appended: dict[str, MessageRow] = field(default_factory=dict[str, MessageRow])
    edited: dict[str, MessageRow] = field(default_factory=dict[str, MessageRow])

    @property
    def key(self) -> ConversationKey:
        return self.user_id, self.id

    @property
    def messages(self) -> list[MessageRow]:
        """The rows to be there; where a message was edited, as it is after that. As they came."""
        return list((self.appended | self.edited).values())

    @property
    def title(self) -> str | None:
        return self.state.title if self.state else None

    @property
    def model(self) -> str | None:
        return self.state.model if self.state else None

    @property
    def metadata(self) -> bytes:
        return self.state.metadata if self.state else b"{}"

    @property
    def created_at_text(self) -> str:
        return self.state.created_at if self.state else isoformat_ms(self.first_at_ms)

    @property
    def created_at(self) -> datetime:
        try:
            return parse_timestamp(self.created_at_text)
        except ValueError as error:
            raise Unstorable("created_at is not a time") from error

    @property
    def deleted_at(self) -> datetime | None:
        return None if self.deleted_at_ms is None else moment(self.deleted_at_ms)


@dataclass(frozen=True, slots=True)
class Changes:
    """A whole batch. Conversations are sorted by user and id."""

    conversations: list[ConversationChange]
    logs: list[LogRow]
    positions: dict[int, tuple[int, int]]
    """The highest position of each partition, ascending by partition."""

    @property
    def users(self) -> list[UserId]:
        """Everyone who owns something in this batch, sorted."""
        owners = {change.user_id for change in self.conversations}
        return sorted(owners | {log.user_id for log in self.logs})


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def fold(recorded: Iterable[Recorded]) -> Changes:
    """What `recorded` events come to, in whatever order they are and however often each is there.

    Raises Unstorable where two of them contradict each other or one is no event for a database.
    """
    changes: dict[ConversationKey, ConversationChange] = {}
    logs: dict[tuple[UserId, str], LogRow] = {}
    positions: dict[int, tuple[int, int]] = {}
    for item in recorded:
        if item.position is not None:
            place = position_order(item.position)
            positions[item.partition] = max(place, positions.get(item.partition, place))
        event = item.event
        if isinstance(event, QueryLogged):
            logs.setdefault((event.user_id, event.log_id), log_row(event, moment(event.at_ms)))
            continue
        key = event.user_id, event.conversation_id
        if key not in changes:
            changes[key] = ConversationChange(*key, event.at_ms, event.at_ms)
        _add(changes[key], event)
    return Changes(
        [changes[key] for key in sorted(changes)],
        [logs[key] for key in sorted(logs)],
        dict(sorted(positions.items())),
    )


def _add(change: ConversationChange, event: ConversationEvent) -> None:
    change.first_at_ms = min(change.first_at_ms, event.at_ms)
    change.last_modified_ms = max(change.last_modified_ms, event.at_ms)
    change.version = max(change.version, event.version)
    change.epoch = max(change.epoch, event.epoch)
    match event:
        case ConversationCreated() | ConversationUpdated():
            if event.version > change.state_version:
                change.state, change.state_version = event.state, event.version
        case ConversationDeleted():
            earlier = change.deleted_at_ms
            change.deleted_at_ms = event.at_ms if earlier is None else min(earlier, event.at_ms)
        case MessagesAppended():
            _append(change, message_rows(event, moment(event.at_ms)))
        case MessageEdited():
            _edit(change, edited_row(event, moment(event.at_ms)), event)
        case MessageDeleted():
            change.removed[event.message_id] = Removed(event.sequence_number, event.version)
            _see_number(change, event.sequence_number)
        case ConversationTruncated():
            gone = removed_numbers(event)
            if gone:
                change.truncated[event.version] = gone
            _see_number(change, gone.stop - 1)
        case _:
            assert_never(event)


def _append(change: ConversationChange, rows: list[MessageRow]) -> None:
    for row in rows:
        known = change.appended.setdefault(row.id, row)
        if known.payload != row.payload:
            raise Collision(f"sequence number {row.sequence_number}: its message's id is that of another")
        # Appended twice, because the first time was lost from the log: the earlier one is it.
        if (row.version, row.sequence_number) < (known.version, known.sequence_number):
            change.appended[row.id] = row
    _see_number(change, rows[-1].sequence_number)


def _edit(change: ConversationChange, row: MessageRow, event: MessageEdited) -> None:
    if row.id != event.message_id:
        raise Collision(f"the edit of sequence number {row.sequence_number} is of another message")
    latest = change.edited.get(row.id)
    if latest is None or latest.version < row.version:
        change.edited[row.id] = row
    _see_number(change, row.sequence_number)


def _see_number(change: ConversationChange, number: int) -> None:
    change.next_sequence_number = max(change.next_sequence_number, number + 1)

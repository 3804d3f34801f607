"""The record told again as events, the fewest that end in the same rows.

What the rows no longer say is not made up: a message that was edited is told as its last edit, numbers that
are gone as a truncation, and a deleted conversation as its delete.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, assert_never

import asyncpg
from pydantic_core import from_json

from common.domain.conversations import State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageBody,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
    QueryLogged,
)
from common.domain.ids import ConversationId, UserId
from common.domain.messages import parse_timestamp
from common.domain.overlay import removed_numbers
from common.postgres.changes import moment
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool
from common.postgres.queries import statement

PAGE: Final = 200
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"
_EPOCH: Final = moment(0)
_MS: Final = timedelta(milliseconds=1)
FOREVER_MS: Final = 253_402_300_799_999
Row = asyncpg.Record


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the record: conversations by their last change, queries by their own time, in ms."""

    user: UserId | None = None
    conversation: ConversationId | None = None
    since_ms: int = 0
    until_ms: int = FOREVER_MS


@dataclass(slots=True)
class Told:
    """What was told of a conversation by now: the highest version, number and time among its events."""

    version: int = 0
    state_version: int = 0
    next_number: int = 0
    at_ms: int = 0

    def noting(self, events: list[ConversationEvent]) -> list[ConversationEvent]:
        """Take note of `events`, and pass them on."""
        for event in events:
            self.version = max(self.version, event.version)
            self.at_ms = max(self.at_ms, event.at_ms)
            match event:
                case ConversationCreated() | ConversationUpdated():
                    self.state_version = max(self.state_version, event.version)
                case MessagesAppended():
                    self._see(event.numbered[-1].sequence_number)
                case MessageEdited():
                    self._see(event.sequence_number)
                case MessageDeleted() | ConversationTruncated():
                    self._see(removed_numbers(event).stop - 1)
                case ConversationDeleted():
                    pass
                case _:
                    assert_never(event)
        return events

    def covers(self, row: Row) -> bool:
        """Whether clock, next number and time of a conversation follow from what was told."""
        return (
            self.version >= row["version"]
            and self.next_number >= row["next_sequence_number"]
            and self.at_ms >= row["last_modified_ms"]
        )

    def _see(self, number: int) -> None:
        self.next_number = max(self.next_number, number + 1)


class Retelling:
    """Reads the record by pages of PAGE rows. Raises StoreUnavailable."""

    def __init__(self, pool: Pool, wanted: Wanted) -> None:
        self._pool = pool
        self._wanted = wanted

    async def conversations(self, after: tuple[str, str] | None) -> list[asyncpg.Record]:
        """The next page of conversations, by user and id, behind `after`."""
        wanted = self._wanted
        return await self._fetch(
            "replay_conversations",
            *(after or ("", _NO_ID)),
            *(wanted.user, wanted.conversation, wanted.since_ms, wanted.until_ms, PAGE),
        )

    async def query_logs(self, after: tuple[str, str] | None) -> list[QueryLogged]:
        """The next page of queries, by user and id, behind `after`."""
        wanted = self._wanted
        rows = await self._fetch(
            "replay_query_logs",
            *(after or ("", "")),
            *(wanted.user, wanted.conversation, moment(wanted.since_ms), moment(wanted.until_ms), PAGE),
        )
        return [_query(row) for row in rows]

    async def events(self, row: Row) -> AsyncGenerator[Sequence[ConversationEvent]]:
        """One conversation as events, by pages.

        `row` is of `conversations`; it is read again at the end, so that whatever happens meanwhile, what
        is told last is no older than what was told before: a message that goes is covered by its tombstone
        or by the delete.
        """
        key = row["user_id"], row["id"]
        if row["deleted_at"] is not None:
            yield last_events(row, Told())  # it has no messages, and no tombstones but its own
            return
        told = Told()
        yield told.noting(first_events(row))
        last = -1
        while messages := await self._fetch("replay_messages", *key, last, PAGE):
            last = messages[-1]["sequence_number"]
            yield told.noting(list(message_events(row, messages)))
        place = -1, -1
        while tombstones := await self._fetch("replay_tombstones", *key, *place, PAGE):
            place = tombstones[-1]["version"], tombstones[-1]["from_sequence"]
            yield told.noting([removal(row, tombstone) for tombstone in tombstones])
        last_id = ""
        while removed := await self._fetch("replay_removed", *key, last_id, PAGE):
            last_id = removed[-1]["id"]
            yield told.noting([_removed(row, message) for message in removed])
        for now in await self._fetch("replay_conversation", *key):
            if rest := last_events(now, told):
                yield rest

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                return await connection.fetch(statement(name), *arguments)


def first_events(row: Row) -> list[ConversationEvent]:
    """How a conversation begins. One whose creation the record does not know is as old as its first event."""
    if row["state_version"] > 0:
        return [ConversationCreated(**_about(row, row["state_version"]), state=_state(row))]
    return [_counters(row, 0, _ms(row["created_at"]))]


def last_events(row: Row, told: Told) -> list[ConversationEvent]:
    """What is missing to `told`, so that all of the conversation's row follows from it.

    A delete comes first: whoever has only that shows nothing.
    """
    events: list[ConversationEvent] = []
    if row["deleted_at"] is not None:
        events.append(ConversationDeleted(**_about(row, row["version"], _ms(row["deleted_at"]))))
    if row["state_version"] > told.state_version:
        events.append(ConversationCreated(**_about(row, row["state_version"]), state=_state(row)))
    elif row["deleted_at"] is not None and row["state_version"] == 0:
        events += first_events(row)
    told.noting(events)
    if not told.covers(row):
        events.append(_counters(row, row["version"], row["last_modified_ms"]))
    return events


def message_events(row: Row, messages: Sequence[Row]) -> Iterator[ConversationEvent]:
    """Messages, ascending: those of one append together, as far as they still stand side by side."""
    group: list[Row] = []
    for message in messages:
        if group and not _goes_on(group[-1], message):
            yield _appended(row, group)
            group = []
        if message["edited"]:
            yield _edited(row, message)
        else:
            group.append(message)
    if group:
        yield _appended(row, group)


def removal(row: Row, tombstone: Row) -> ConversationTruncated | MessageDeleted:
    """A message that is gone, or numbers."""
    if tombstone["message_id"] is not None:
        return MessageDeleted(
            **_about(row, tombstone["version"]),
            message_id=tombstone["message_id"],
            sequence_number=tombstone["from_sequence"],
        )
    return ConversationTruncated(
        **_about(row, tombstone["version"]),
        after_sequence_number=tombstone["from_sequence"] - 1,
        next_sequence_number=tombstone["to_sequence"] + 1,
    )


def _removed(row: Row, message: Row) -> MessageDeleted:
    """The id of a message that went with others. Of version 0: it brings no tombstone of its own."""
    return MessageDeleted(
        **_about(row, 0), message_id=message["id"], sequence_number=message["sequence_number"]
    )


def _counters(row: Row, version: int, at_ms: int) -> ConversationTruncated:
    """A truncation that removes nothing: it carries the next number, the version and the time."""
    next_number: int = row["next_sequence_number"]
    return ConversationTruncated(
        **_about(row, version, at_ms), after_sequence_number=next_number - 1, next_sequence_number=next_number
    )


def _goes_on(one: Row, other: Row) -> bool:
    """Whether `other` is the next message of the same append."""
    following = other["sequence_number"] == one["sequence_number"] + 1
    return following and not other["edited"] and other["version"] == one["version"]


def _appended(row: Row, group: Sequence[Row]) -> MessagesAppended:
    bodies = [MessageBody(message["payload"]) for message in group]
    return MessagesAppended(
        **_about(row, group[0]["version"], _event_time(row, group, bodies)),
        first_sequence_number=group[0]["sequence_number"],
        bodies=tuple(bodies),
    )


def _edited(row: Row, message: Row) -> MessageEdited:
    body = MessageBody(message["payload"])
    return MessageEdited(
        **_about(row, message["version"], _event_time(row, [message], [body])),
        message_id=body.fields["id"],
        sequence_number=message["sequence_number"],
        body=body,
    )


def _event_time(row: Row, messages: Sequence[Row], bodies: Sequence[MessageBody]) -> int:
    """When an event was. A message that does not say when it was written has the event's time in its row;
    else the record does not know, and the latest of their own times stands for it, within reason."""
    for message, body in zip(messages, bodies, strict=True):
        if not _says_when(body.fields.get("created_at")):
            return _ms(message["created_at"])
    return _within(row, max(_ms(message["created_at"]) for message in messages))


def _says_when(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_timestamp(value))
    except ValueError:
        return False


def _within(row: Row, at_ms: int) -> int:
    """A time that changes neither when the conversation was last modified nor, unknown, when it began."""
    lowest = _ms(row["created_at"]) if row["state_version"] == 0 else 0
    return min(max(at_ms, lowest), row["last_modified_ms"])


def _about(row: Row, version: int, at_ms: int | None = None) -> dict[str, Any]:
    return {
        "user_id": row["user_id"],
        "conversation_id": row["id"],
        "version": version,
        "epoch": row["epoch"],
        "at_ms": _within(row, _ms(row["created_at"])) if at_ms is None else at_ms,
    }


def _state(row: Row) -> State:
    return State(row["title"], row["model"], row["metadata"], row["created_at_text"])


def _query(row: Row) -> QueryLogged:
    return QueryLogged(
        user_id=row["user_id"],
        at_ms=_ms(row["at"]),
        conversation_id=row["conversation_id"],
        log_id=row["log_id"],
        log=from_json(row["payload"]),
    )


def _ms(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // _MS

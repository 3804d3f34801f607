"""A conversation that one transaction holds: what is decided about it becomes events, and then rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from common.domain.conversations import Header, State
from common.domain.errors import ConversationNotFound
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
)
from common.domain.ids import ConversationId, MessageId, UserId, isoformat_ms
from common.domain.messages import NewMessage
from common.postgres.changes import Recorded, moment
from common.postgres.pool import Connection
from common.postgres.queries import statement
from common.postgres.store import header_of
from common.postgres.writer import apply


class HeldConversation:
    """The conversation, as it will be when `write` is done. `header` is None while it is absent.

    The steps are those of the log's functions: the clock goes up by one with every event, and the rows
    are written by what writes them for the log.
    """

    def __init__(
        self, connection: Connection, user: UserId, conversation: ConversationId, header: Header | None
    ) -> None:
        self.connection = connection
        self.user = user
        self.id = conversation
        self.header = header
        self._events: list[ConversationEvent] = []

    @property
    def living(self) -> Header:
        """The header. Raises ConversationNotFound where it is absent or deleted."""
        if self.header is None or self.header.deleted:
            raise ConversationNotFound(self.id)
        return self.header

    def create(self, state: State, *, at_ms: int) -> Header:
        """It begins, without messages."""
        header = Header(self.id, state, at_ms, 0, 0, None, version=1)
        self._events.append(ConversationCreated(**self._about(header, at_ms), state=state))
        self.header = header
        return header

    def append(self, messages: Sequence[NewMessage], *, at_ms: int) -> None:
        """It gets `messages`, numbered from its `next_sequence_number`."""
        header = self.living
        first = header.next_sequence_number
        after = replace(
            _advanced(header, at_ms),
            next_sequence_number=first + len(messages),
            message_count=header.message_count + len(messages),
        )
        bodies = tuple(MessageBody(message.body) for message in messages)
        about = self._about(after, at_ms)
        self._events.append(MessagesAppended(**about, first_sequence_number=first, bodies=bodies))
        self.header = after

    def update(self, state: State, *, at_ms: int) -> Header:
        """Title, model or metadata are others."""
        after = replace(_advanced(self.living, at_ms), state=state)
        self._events.append(ConversationUpdated(**self._about(after, at_ms), state=state))
        self.header = after
        return after

    def edit(self, number: int, revised: NewMessage, *, at_ms: int) -> None:
        """Message `number` has another body."""
        after = _advanced(self.living, at_ms)
        body = MessageBody(revised.body)
        about = self._about(after, at_ms)
        self._events.append(MessageEdited(**about, message_id=revised.id, sequence_number=number, body=body))
        self.header = after

    def remove(self, message_id: MessageId, number: int, *, at_ms: int) -> None:
        """Message `number` is gone."""
        after = _advanced(self.living, at_ms)
        about = self._about(after, at_ms)
        self._events.append(MessageDeleted(**about, message_id=message_id, sequence_number=number))
        self.header = after

    def truncate(self, after_number: int, *, at_ms: int) -> None:
        """All messages behind a number are gone."""
        after = _advanced(self.living, at_ms)
        self._events.append(
            ConversationTruncated(
                **self._about(after, at_ms),
                after_sequence_number=after_number,
                next_sequence_number=after.next_sequence_number,
            )
        )
        self.header = after

    def delete(self, *, at_ms: int) -> None:
        """It is gone, for ever."""
        header = self.living
        after = replace(_advanced(header, at_ms), epoch=header.epoch + 1, deleted=True)
        self._events.append(ConversationDeleted(**self._about(after, at_ms)))
        self.header = after

    async def write(self) -> None:
        """Write what was decided."""
        if self._events:
            await apply(self.connection, [Recorded(0, None, event) for event in self._events])

    def _about(self, after: Header, at_ms: int) -> dict[str, Any]:
        return {
            "user_id": self.user,
            "conversation_id": self.id,
            "version": after.version,
            "epoch": after.epoch,
            "at_ms": at_ms,
        }


async def hold(
    connection: Connection, user: UserId, conversation: ConversationId, *, begun_at_ms: int | None = None
) -> HeldConversation:
    """Lock the conversation's row until the transaction ends; a deleted one, too.

    With `begun_at_ms` a row is put there first where there is none: else two that create the same
    conversation at once would each find it absent.
    """
    if begun_at_ms is not None:
        await connection.fetch(statement("add_users"), [user])
        times = [[moment(begun_at_ms)], [isoformat_ms(begun_at_ms)]]
        await connection.fetch(statement("add_conversations"), [user], [conversation], *times)
    rows = await connection.fetch(statement("lock_conversation"), user, conversation)
    header = header_of(rows[0]) if rows else None
    # Version 0: the row that this transaction has just put there.
    born = header if header is not None and header.version > 0 else None
    return HeldConversation(connection, user, conversation, born)


async def hold_living(connection: Connection, user: UserId, conversation: ConversationId) -> HeldConversation:
    """Lock a conversation that is there. Raises ConversationNotFound where it is absent or deleted."""
    held = await hold(connection, user, conversation)
    _ = held.living
    return held


def _advanced(header: Header, at_ms: int) -> Header:
    later = max(header.last_modified_ms, at_ms)
    return replace(header, version=header.version + 1, last_modified_ms=later)

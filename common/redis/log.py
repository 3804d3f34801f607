"""The log: every change to a conversation, as one typed call each to a Redis function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from common.domain.conversations import Header, State
from common.domain.errors import ConversationDeleted
from common.domain.ids import ConversationId, Position, UserId, position_order
from common.domain.messages import NewMessage, preview_of
from common.domain.publishing import Idempotency
from common.redis.calls import refusal
from common.redis.headers import header_from_reply
from common.redis.message_changes import MessageChanges

FRESH = "fresh"
"""The `token` of a conversation whose id was made for it just now: it can be in neither store."""


class CheckIds(Exception):
    """Some message ids may be in PostgreSQL, below sequence number `below`; look them up first."""

    def __init__(self, below: int) -> None:
        super().__init__(below)
        self.below = below


class Taken(Exception):
    """The ids of some messages (index → sequence number) are those of messages with another digest.

    They may be the same all the same: a digest covers `created_at` only where the client gave one.
    """

    def __init__(self, numbers: dict[int, int]) -> None:
        super().__init__(numbers)
        self.numbers = numbers


class Removed(Exception):
    """The messages with these indices were deleted."""

    def __init__(self, indices: list[int]) -> None:
        super().__init__(indices)
        self.indices = indices


@dataclass(frozen=True, slots=True)
class Creation:
    """What to create where a conversation is absent, and the right to (FRESH or a rebuild's token)."""

    token: str
    state: State


@dataclass(frozen=True, slots=True)
class Checked:
    """Messages that were found to be there, compared and the same (id → sequence number).

    All ids were looked up in PostgreSQL `below` a number; None: they need not be, they are fresh.
    """

    below: int | None
    known: Mapping[str, int]


IDS_ARE_FRESH: Final = Checked(None, {})
NOTHING_CHECKED: Final = Checked(0, {})


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an append was given; `known` of its messages were there before.

    `position` is that of the new messages, else of the last repeated one while Redis knows it.
    """

    position: Position | None
    sequence_numbers: list[int]
    known: int


class EventLog(MessageChanges):
    """Publishes events. Each method is one round trip and atomic; raises LogUnavailable (Redis away)."""

    @property
    def worth_repeating(self) -> bool:
        """Whether a call whose reply was lost may be answered if it is made again at once."""
        return True

    async def append(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        create: Creation | None = None,
        checked: Checked = NOTHING_CHECKED,
        idempotency: Idempotency | None = None,
        title: str | None = None,
    ) -> Receipt:
        """Append `messages`, all or none. `checked` says what is known of their ids. A conversation that is
        there and has no title gets `title`.

        Raises Cold, CheckIds, Taken, Removed, Gone, IdempotencyKeyConflict, Overloaded.
        """
        preview = preview_of([message.text for message in messages])
        arguments = [
            *self._call(user, conversation, at_ms),
            to_json(preview) if preview is not None else b"",
            b"" if checked.below is None else checked.below,
            create.token if create else b"",
            *(_state_arguments(create.state) if create else _title_arguments(title)),
            *self._idempotency_arguments(idempotency),
        ]
        for message in messages:
            arguments += (message.id, message.digest, checked.known.get(message.id, b""), message.body)
        keys = self._call_keys(user, conversation, idempotency)
        reply = await self._functions.call("append", keys, *arguments)
        match reply[0]:
            case b"ok":
                position = Position(reply[1].decode()) if reply[1] else None
                return Receipt(position, list(map(int, reply[3:])), int(reply[2]))
            case b"check":
                raise CheckIds(int(reply[1]))
            case b"taken":
                pairs = map(int, reply[1:])
                raise Taken(dict(zip(pairs, pairs, strict=True)))
            case b"removed":
                raise Removed(list(map(int, reply[1:])))
            case _:
                raise refusal(reply)

    async def create(
        self,
        user: UserId,
        conversation: ConversationId,
        creation: Creation | None,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> tuple[Header, bool]:
        """Create a conversation; True where this call did it, False where it was there.

        Raises Cold where it is not in Redis and `creation` does not (or no longer) entitle to create
        it, ConversationDeleted, IdempotencyKeyConflict, Overloaded.
        """
        reply = await self._functions.call(
            "create",
            self._call_keys(user, conversation, idempotency),
            *self._call(user, conversation, at_ms),
            creation.token if creation else b"",
            *_state_arguments(creation.state if creation else None),
            *self._idempotency_arguments(idempotency),
        )
        match reply[0]:
            case b"created" | b"exists":
                return header_from_reply(conversation, reply[1:]), reply[0] == b"created"
            case b"deleted":
                raise ConversationDeleted("a conversation with this id was deleted")
            case _:
                raise refusal(reply)

    async def update(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        title: bytes,
        model: bytes,
        metadata: bytes,
        at_ms: int,
    ) -> Header:
        """Change what is not empty; each is JSON text. Raises Cold, Gone, Overloaded."""
        reply = await self._functions.call(
            "update",
            self._keys.conversation(user, conversation),
            *self._call(user, conversation, at_ms),
            title,
            model,
            metadata,
        )
        if reply[0] != b"ok":
            raise refusal(reply)
        return header_from_reply(conversation, reply[1:])

    async def delete(self, user: UserId, conversation: ConversationId, *, at_ms: int) -> Position:
        """Delete a conversation for ever. Raises Cold, Gone."""
        reply = await self._functions.call(
            "delete",
            self._keys.conversation(user, conversation),
            *self._call(user, conversation, at_ms),
        )
        if reply[0] != b"ok":
            raise refusal(reply)
        return Position(reply[1].decode())

    async def log_query(
        self,
        user: UserId,
        conversation: ConversationId | None,
        *,
        log_id: str,
        log: bytes,
        at_ms: int,
    ) -> Position:
        """Log one query; `log` is a JSON object, `log_id` its deduplication key."""
        events = self._keys.events(self._keys.partition(user))
        reply: bytes | list[bytes] = await self._functions.call(
            "log_query", [events], user, conversation or b"", at_ms, log_id, log
        )
        if isinstance(reply, list):
            raise refusal(reply)
        return Position(reply.decode())

    async def is_pending(self, user: UserId, conversation: ConversationId, position: Position) -> bool:
        """Whether the event at `position`, or one before it, still waits for PostgreSQL."""
        pending = self._keys.conversation(user, conversation).pending
        oldest = await self._functions.client.call("LINDEX", pending, 0)
        return oldest is not None and position_order(oldest.decode()) <= position_order(position)


def _state_arguments(state: State | None) -> list[bytes]:
    if state is None:
        return [b"", b"", b"", b""]
    return [to_json(state.title), to_json(state.model), state.metadata, to_json(state.created_at)]


def _title_arguments(title: str | None) -> list[bytes]:
    return [to_json(title) if title is not None else b"", b"", b"", b""]

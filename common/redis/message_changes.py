"""Changes of messages that are there, each one typed call to a Redis function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from common.domain.conversations import Header
from common.domain.ids import ConversationId, MessageId, Position, UserId
from common.domain.messages import NewMessage
from common.domain.publishing import Idempotency
from common.redis.calls import Calls, refusal
from common.redis.headers import header_from_reply


@dataclass(frozen=True, slots=True)
class Intent:
    """A change that was worked out from what was seen at `version`; `preview` is the one after it."""

    version: int
    preview: str | None
    at_ms: int
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change. `position` is None where there was nothing to change.

    `repeated`: the idempotency key was used for the same request before, and nothing was done now.
    """

    header: Header
    position: Position | None
    repeated: bool


class MessageChanges(Calls):
    """Each method is one round trip and atomic.

    Raises Cold, Gone, Moved, IdempotencyKeyConflict, Overloaded, LogUnavailable (Redis away).
    """

    async def edit(
        self,
        user: UserId,
        conversation: ConversationId,
        message_id: MessageId,
        number: int,
        revised: NewMessage | None,
        *,
        intent: Intent,
    ) -> Outcome:
        """Give message `number` the `revised` body; None: it has that already."""
        digest, body = (revised.digest, revised.body) if revised else ("", b"")
        return await self._change("edit", user, conversation, intent, message_id, number, digest, body)

    async def remove(
        self,
        user: UserId,
        conversation: ConversationId,
        message_id: MessageId,
        number: int,
        *,
        intent: Intent,
    ) -> Outcome:
        """Delete message `number`; its number stays a gap."""
        return await self._change("remove", user, conversation, intent, message_id, number)

    async def truncate(
        self,
        user: UserId,
        conversation: ConversationId,
        after: int,
        removed: int,
        *,
        intent: Intent,
    ) -> Outcome:
        """Delete all messages behind number `after`, which are `removed` in number."""
        return await self._change("truncate", user, conversation, intent, after, removed)

    async def _change(
        self, name: str, user: UserId, conversation: ConversationId, intent: Intent, *what: Any
    ) -> Outcome:
        reply = await self._functions.call(
            name,
            self._call_keys(user, conversation, intent.idempotency),
            *self._call(user, conversation, intent.at_ms),
            intent.version,
            *self._idempotency_arguments(intent.idempotency),
            to_json(intent.preview),
            *what,
        )
        if reply[0] not in (b"ok", b"again"):
            raise refusal(reply)
        position = Position(reply[1].decode()) if reply[1] else None
        return Outcome(header_from_reply(conversation, reply[2:]), position, reply[0] == b"again")

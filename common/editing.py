"""Changes of messages that are there, on the log: look, work out what a change comes to, compare and set."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic_core import to_json

from common.domain.conversations import Header
from common.domain.errors import Busy, ConversationNotFound, MessageNotFound
from common.domain.ids import ConversationId, MessageId, Position, UserId
from common.domain.messages import Numbered, body_digest, message_text, numbered, parse_body, preview_of
from common.domain.overlay import Pending, pending_messages
from common.domain.paging import Window
from common.domain.publishing import Edited, Idempotency, Revise, Truncated
from common.postgres.store import Store
from common.rebuild import Rebuilder
from common.redis.cache import Cache
from common.redis.calls import Cold, Gone, Moved
from common.redis.log import EventLog
from common.redis.message_changes import Intent

ATTEMPTS: Final = 24
_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.05
_PAGE: Final = 20

Result = TypeVar("Result")
Becomes = Callable[[Numbered], Numbered | None]
"""What becomes of a message; None where it goes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A conversation as it was looked at. `cached`: its newest messages without a gap, ascending, if any."""

    user: UserId
    conversation: ConversationId
    header: Header
    pending: Pending
    cached: list[Numbered]

    @property
    def whole(self) -> bool:
        """Whether `cached` is all that there is."""
        return len(self.cached) >= self.header.message_count

    def covers(self, after: int) -> bool:
        """Whether all messages behind number `after` are in `cached`."""
        return self.whole or bool(self.cached and self.cached[0].sequence_number <= after + 1)


class Editor:
    """Edits, deletes and truncates. What returns is acknowledged: it is on the log.

    Raises ConversationNotFound, MessageNotFound, IdempotencyKeyConflict, what `revise` raises, and the Busy
    family where a server that is needed is away.
    """

    def __init__(self, log: EventLog, cache: Cache, store: Store, rebuilder: Rebuilder) -> None:
        self._log = log
        self._cache = cache
        self._store = store
        self._rebuilder = rebuilder

    async def edit(
        self,
        user: UserId,
        conversation: ConversationId,
        message_id: MessageId,
        revise: Revise,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Edited:
        """Give a message the body that `revise` makes of its own."""

        async def change(seen: Seen) -> Edited:
            found = await self._find(seen, message_id)
            revised = revise(found.body)
            after = Numbered(found.sequence_number, revised.body)
            same = revised.digest == body_digest(parse_body(found.body))
            preview = await self._preview(seen, lambda m: after if _same_place(m, after) else m)
            outcome = await self._log.edit(
                user,
                conversation,
                message_id,
                found.sequence_number,
                None if same else revised,
                intent=Intent(seen.header.version, preview, at_ms, idempotency),
            )
            shown = found if same or outcome.repeated else after
            return Edited(shown.served, outcome.position, outcome.repeated)

        return await self._on_seen(user, conversation, change)

    async def delete(
        self, user: UserId, conversation: ConversationId, message_id: MessageId, *, at_ms: int
    ) -> Position | None:
        """Delete a message for ever."""

        async def change(seen: Seen) -> Position | None:
            found = await self._find(seen, message_id)
            preview = await self._preview(seen, lambda m: None if _same_place(m, found) else m)
            intent = Intent(seen.header.version, preview, at_ms)
            outcome = await self._log.remove(
                user, conversation, message_id, found.sequence_number, intent=intent
            )
            return outcome.position

        return await self._on_seen(user, conversation, change)

    async def truncate(
        self,
        user: UserId,
        conversation: ConversationId,
        after: int,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Truncated:
        """Delete all messages behind number `after` for ever."""

        async def change(seen: Seen) -> Truncated:
            gone = await self._count_after(seen, after)
            preview = await self._preview(seen, lambda m: m, below=after + 1)
            intent = Intent(seen.header.version, preview, at_ms, idempotency)
            outcome = await self._log.truncate(user, conversation, after, gone, intent=intent)
            return Truncated(outcome.header, outcome.position, outcome.repeated)

        return await self._on_seen(user, conversation, change)

    async def _on_seen(
        self, user: UserId, conversation: ConversationId, change: Callable[[Seen], Awaitable[Result]]
    ) -> Result:
        pause = _PAUSE_SECONDS
        for _ in range(ATTEMPTS):
            try:
                return await change(await self._look(user, conversation))
            except Gone as gone:
                raise ConversationNotFound(conversation) from gone
            except Cold:
                await self._rebuilder.conversation(user, conversation)
            except Moved:
                # Appends come one after the other: who waits a moment finds a gap between two.
                await asyncio.sleep(pause * random.random())  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise Busy("the conversation is being changed by too many at once")

    async def _look(self, user: UserId, conversation: ConversationId) -> Seen:
        look = await self._cache.look(user, conversation)
        if look.header is None:
            raise Cold
        if look.header.deleted:
            raise Gone
        cached = [numbered(message) for message in look.messages]
        return Seen(user, conversation, look.header, pending_messages(look.events), cached)

    async def _find(self, seen: Seen, message_id: MessageId) -> Numbered:
        """The message with this id. Raises MessageNotFound."""
        quoted = to_json(message_id)
        for message in reversed(seen.cached):
            # Most messages need not be parsed to see that they are another.
            if quoted in message.body and _id_of(message) == message_id:
                return message
        by_id, pending = await self._store.read_beside(
            seen.user,
            seen.conversation,
            seen.pending,
            lambda queries, _: queries.messages_by_id(seen.user, seen.conversation, [message_id]),
        )
        for message in pending.bodies.values():
            if _id_of(message) == message_id:
                return message
        stored = by_id.found.get(message_id)
        if stored is None or stored.sequence_number in pending.hidden:
            raise MessageNotFound(message_id)
        return stored

    async def _count_after(self, seen: Seen, after: int) -> int:
        if seen.covers(after):
            return sum(message.sequence_number > after for message in seen.cached)
        stored, pending = await self._store.read_beside(
            seen.user,
            seen.conversation,
            seen.pending,
            lambda queries, known: queries.count_after(
                seen.user, seen.conversation, after, excluding=known.touched
            ),
        )
        return stored + sum(number > after for number in pending.bodies)

    async def _preview(self, seen: Seen, becomes: Becomes, *, below: int | None = None) -> str | None:
        """The last word of the conversation, `below` a number, once its messages are what they will be."""
        messages = [m for m in seen.cached if below is None or m.sequence_number < below]
        before, whole = below, seen.whole
        while True:
            for message in reversed(messages):
                after = becomes(message)
                text = message_text(parse_body(after.body).get("content")) if after else ""
                if (preview := preview_of([text])) is not None:
                    return preview
            if whole:
                return None
            before = messages[0].sequence_number if messages else before
            messages = await self._older(seen, Window(_PAGE, before=before))
            whole = len(messages) < _PAGE

    async def _older(self, seen: Seen, window: Window) -> list[Numbered]:
        stored, pending = await self._store.read_beside(
            seen.user,
            seen.conversation,
            seen.pending,
            lambda queries, known: queries.window(
                seen.user, seen.conversation, window, excluding=known.touched
            ),
        )
        added = (message for number, message in pending.bodies.items() if number in window)
        union = {message.sequence_number: message for message in (*stored, *added)}
        return window.cut([union[number] for number in sorted(union)])


def _same_place(one: Numbered, other: Numbered) -> bool:
    return one.sequence_number == other.sequence_number


def _id_of(message: Numbered) -> object:
    return parse_body(message.body).get("id")

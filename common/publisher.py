"""Every change to a conversation: the log's functions, and the looking-up that they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from pydantic_core import to_json

from common.domain.conversations import Header, State
from common.domain.errors import (
    Busy,
    ConversationNotFound,
    LogUnavailable,
    MessageIdConflict,
    MessageRemoved,
    StoreUnavailable,
)
from common.domain.ids import ConversationId, MessageId, Position, UserId, new_conversation_id
from common.domain.messages import NewMessage, Numbered, numbered, parse_body, same_as_stored
from common.domain.publishing import UNSET, Appended, Idempotency, Unset
from common.history import History
from common.postgres.store import Store
from common.rebuild import Rebuilder
from common.redis.calls import Cold, Gone
from common.redis.log import (
    FRESH,
    IDS_ARE_FRESH,
    NOTHING_CHECKED,
    Checked,
    CheckIds,
    Creation,
    EventLog,
    Receipt,
    Removed,
    Taken,
)

ATTEMPTS: Final = 5
_FIRST_POLL_SECONDS: Final = 0.002
_LONGEST_POLL_SECONDS: Final = 0.05

Result = TypeVar("Result")


class Publisher:
    """Changes one user's conversations. What returns is acknowledged: it is on the log.

    Raises ConversationNotFound (absent, deleted or another user's), ConversationDeleted,
    MessageIdConflict, MessageRemoved, IdempotencyKeyConflict, and the Busy family where a server that is
    needed is away.
    """

    def __init__(self, log: EventLog, store: Store, rebuilder: Rebuilder, history: History) -> None:
        self._log = log
        self._store = store
        self._rebuilder = rebuilder
        self._history = history

    async def create(
        self,
        user: UserId,
        state: State,
        *,
        at_ms: int,
        conversation_id: ConversationId | None = None,
        idempotency: Idempotency | None = None,
    ) -> tuple[Header, bool]:
        """Create a conversation; with True where one with this id was there, which is then the answer."""
        conversation = conversation_id or new_conversation_id()
        creation = Creation(FRESH, state) if conversation_id is None else None
        repeatable = True
        for _ in range(ATTEMPTS):
            try:
                header, created = await self._log.create(
                    user, conversation, creation, at_ms=at_ms, idempotency=idempotency
                )
            except Cold:
                creation = await self._right_to_create(user, conversation, state)
            except LogUnavailable as lost:
                _once_more(lost, repeatable and self._log.worth_repeating)
                repeatable, creation = False, None
            else:
                # A fresh id that "exists" is our own, from a try whose reply was lost.
                return header, not created and conversation_id is not None
        raise Busy("the conversation is being changed by too many at once")

    async def append(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
        title: str | None = None,
    ) -> Appended:
        """Append `messages` to a conversation that is there, all or none. Without a title it gets `title`."""
        return await self._append(
            user, conversation, messages, creation=None, at_ms=at_ms, idempotency=idempotency, title=title
        )

    async def append_to_new(
        self,
        user: UserId,
        conversation_id: ConversationId | None,
        state: State,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        """Append `messages`, creating the conversation in the same step where it is not there.

        Without `conversation_id` it gets a fresh one.
        """
        token = FRESH if conversation_id is None else ""
        conversation = conversation_id or new_conversation_id()
        creation = Creation(token, state)
        return await self._append(
            user, conversation, messages, creation=creation, at_ms=at_ms, idempotency=idempotency
        )

    async def update(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        at_ms: int,
        title: str | Unset | None = UNSET,
        model: str | Unset | None = UNSET,
        metadata: bytes | Unset = UNSET,
    ) -> Header:
        """Change what is set; `metadata` is JSON text."""
        return await self._on_loaded(
            user,
            conversation,
            lambda: self._log.update(
                user,
                conversation,
                title=b"" if isinstance(title, Unset) else to_json(title),
                model=b"" if isinstance(model, Unset) else to_json(model),
                metadata=b"" if isinstance(metadata, Unset) else metadata,
                at_ms=at_ms,
            ),
        )

    async def delete(self, user: UserId, conversation: ConversationId, *, at_ms: int) -> Position:
        """Delete a conversation for ever."""
        return await self._on_loaded(
            user, conversation, lambda: self._log.delete(user, conversation, at_ms=at_ms)
        )

    async def wait_persisted(self, user: UserId, appended: Appended, *, within: float) -> bool:
        """Wait until PostgreSQL has these messages, as they were answered.

        False where `within` seconds passed, or where it does not have them though nothing is pending
        any more: the event was parked, or they are deleted already.
        """
        pause = _FIRST_POLL_SECONDS
        conversation, position = appended.conversation_id, appended.position
        try:
            async with asyncio.timeout(within):
                while position and await self._log.is_pending(user, conversation, position):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_POLL_SECONDS)
                numbers = [numbered(message).sequence_number for message in appended.messages]
                stored = await self._store.messages_by_number(user, conversation, numbers)
        except (TimeoutError, StoreUnavailable):
            return False
        return set(appended.messages) <= {message.served for message in stored}

    async def _append(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        *,
        creation: Creation | None,
        at_ms: int,
        idempotency: Idempotency | None,
        title: str | None = None,
    ) -> Appended:
        checked = NOTHING_CHECKED if any(message.id_given for message in messages) else IDS_ARE_FRESH
        repeatable = True
        unseen: set[int] = set()
        for _ in range(ATTEMPTS):
            try:
                receipt = await self._log.append(
                    user,
                    conversation,
                    messages,
                    at_ms=at_ms,
                    create=creation,
                    checked=checked,
                    idempotency=idempotency,
                    title=title,
                )
            except Gone as gone:
                raise ConversationNotFound(conversation) from gone
            except CheckIds as wanted:
                found = await self._look_up(user, conversation, messages)
                checked = Checked(wanted.below, {**checked.known, **found})
            except Taken as taken:
                found = await self._compare(user, conversation, messages, taken.numbers)
                missing = {index for index in taken.numbers if messages[index].id not in found}
                if missing and missing == unseen:
                    raise MessageIdConflict(messages[min(missing)].id) from taken
                # Deleted since the log was asked, it or its conversation? Asked again, the log says which.
                unseen = missing
                checked = Checked(checked.below, {**checked.known, **found})
            except Removed as removed:
                raise MessageRemoved([messages[index].id for index in removed.indices]) from removed
            except LogUnavailable as lost:
                _once_more(lost, repeatable and self._log.worth_repeating)
                # Nothing is fresh the second time: the first may have been carried out.
                repeatable, checked = False, NOTHING_CHECKED
                creation = creation and Creation("", creation.state)
            except Cold:
                creation = await self._warm(user, conversation, creation)
            else:
                return await self._answer(
                    user, conversation, messages, receipt, keyed=idempotency is not None
                )
        raise Busy("the conversation is being changed by too many at once")

    async def _warm(
        self, user: UserId, conversation: ConversationId, creation: Creation | None
    ) -> Creation | None:
        """Load what an append found cold, or (with a `creation`) find it absent and get the right to it."""
        if creation is None:
            await self._rebuilder.conversation(user, conversation)
            return None
        right = await self._right_to_create(user, conversation, creation.state)
        return right or Creation("", creation.state)

    async def _right_to_create(
        self, user: UserId, conversation: ConversationId, state: State
    ) -> Creation | None:
        absent = await self._rebuilder.absent(user, conversation)
        return Creation(absent.token, state) if absent else None

    async def _look_up(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
    ) -> dict[str, int]:
        """Which of `messages` PostgreSQL has. Raises MessageIdConflict for one with another body,
        MessageRemoved for one that was deleted."""
        given = {message.id: message for message in messages}
        stored = await self._store.messages_by_id(user, conversation, list(given))
        if stored.removed:
            raise MessageRemoved(sorted(stored.removed))
        for message_id, found in stored.found.items():
            if not same_as_stored(given[message_id], found.body):
                raise MessageIdConflict(message_id)
        return {message_id: found.sequence_number for message_id, found in stored.found.items()}

    async def _compare(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        numbers: dict[int, int],
    ) -> dict[str, int]:
        """Messages whose ids are taken (index → number), if they are those that have them: a client
        sends what it has read back, with the time that was ours. What is not there is left out. Raises
        MessageIdConflict."""
        stored = await self._history.by_number(user, conversation, list(numbers.values()))
        there = {index: stored[number] for index, number in numbers.items() if number in stored}
        for index, found in there.items():
            if not same_as_stored(messages[index], numbered(found).body):
                raise MessageIdConflict(messages[index].id)
        return {messages[index].id: numbers[index] for index in there}

    async def _answer(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        receipt: Receipt,
        *,
        keyed: bool,
    ) -> Appended:
        """The messages as stored. Those of a repeated append are read back: their times are the first's."""
        pairs = list(zip(receipt.sequence_numbers, messages, strict=True))
        ours = {number: Numbered(number, message.body).served for number, message in pairs}
        moved: dict[MessageId, Numbered] = {}
        if receipt.known:
            # New ones have the highest numbers. One that was deleted meanwhile is answered as it was sent.
            known = sorted(receipt.sequence_numbers)[: receipt.known]
            found = await self._history.by_number(user, conversation, known)
            # What a key answers may have come under ids that were made for this call: they have no place.
            named = [(found.get(n), m) for n, m in pairs if m.id_given or not keyed]
            moved = await self._moved(user, conversation, named)
            ours |= found
        ordered = [moved[m.id].served if m.id in moved else ours[number] for number, m in pairs]
        return Appended(conversation, ordered, receipt.position, receipt.known)

    async def _moved(
        self, user: UserId, conversation: ConversationId, places: Sequence[tuple[bytes | None, NewMessage]]
    ) -> dict[MessageId, Numbered]:
        """Those of the messages that are not what stands at their places by now: another was given the
        number before Redis lost it, and came late (ADR 0091)."""
        others = {
            m.id: Numbered(numbered(served).sequence_number, m.body)
            for served, m in places
            if served and parse_body(numbered(served).body)["id"] != m.id
        }
        if not others:
            return {}
        stored = await self._store.messages_by_id(user, conversation, list(others))
        if len(stored.found) + len(stored.removed) < len(others):
            raise Busy("a message is about to get another number")
        return others | stored.found

    async def _on_loaded(
        self,
        user: UserId,
        conversation: ConversationId,
        change: Callable[[], Awaitable[Result]],
    ) -> Result:
        for _ in range(ATTEMPTS):
            try:
                return await change()
            except Gone as gone:
                raise ConversationNotFound(conversation) from gone
            except Cold:
                await self._rebuilder.conversation(user, conversation)
        raise Busy("the conversation is being changed by too many at once")


def _once_more(lost: LogUnavailable, repeatable: bool) -> None:
    """Let a call whose reply was lost be made again, once; raise `lost` where it must not.

    The functions know a message or a conversation by its id: the second of two calls changes nothing.
    """
    if not (repeatable and lost.outcome_unknown):
        raise lost

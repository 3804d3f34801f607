"""Every change to a conversation as one transaction: what the log's functions decide, decided here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.direct.conversation import HeldConversation, hold
from common.direct.remembering import remember, remembered
from common.direct.transactions import Transactions, repeated
from common.domain.conversations import Header, State
from common.domain.errors import ConversationDeleted, MessageIdConflict, MessageRemoved, StoreUnavailable
from common.domain.ids import ConversationId, MessageId, UserId, new_conversation_id
from common.domain.messages import NewMessage, Numbered, numbered, same_as_stored
from common.domain.publishing import UNSET, Appended, Idempotency, Unset
from common.postgres.pool import Connection
from common.postgres.store import Queries


class DirectPublisher:
    """Changes one user's conversations. What returns is acknowledged: it is committed.

    See `PublisherPort` for what it raises. `key_ttl_seconds` is how long an idempotency key is kept.
    """

    def __init__(self, transactions: Transactions, *, key_ttl_seconds: int) -> None:
        self._transactions = transactions
        self._key_ttl_seconds = key_ttl_seconds

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

        async def attempt(first: bool) -> tuple[Header, bool]:
            async with self._transactions.change(user, conversation) as connection:
                fresh = conversation_id is None and first
                held = await _held(connection, user, conversation, at_ms, fresh=fresh)
                if idempotency is not None:
                    await remembered(connection, user, idempotency)
                there = held.header
                if there is not None and there.deleted:
                    raise ConversationDeleted("a conversation with this id was deleted")
                header = there or held.create(state, at_ms=at_ms)
                await held.write()
                await self._remember(held, idempotency, [])
                # A fresh id that is there is our own, from a try whose commit was not answered.
                return header, there is not None and conversation_id is not None

        return await repeated(attempt)

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

        async def attempt(first: bool) -> Appended:
            async with self._transactions.change(user, conversation) as connection:
                held = await hold(connection, user, conversation)
                return await self._append(held, _Sent(messages, at_ms, idempotency, fresh=first, title=title))

        return await repeated(attempt)

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
        conversation = conversation_id or new_conversation_id()

        async def attempt(first: bool) -> Appended:
            async with self._transactions.change(user, conversation) as connection:
                fresh = conversation_id is None and first
                held = await _held(connection, user, conversation, at_ms, fresh=fresh)
                if held.header is None:
                    held.create(state, at_ms=at_ms)
                return await self._append(held, _Sent(messages, at_ms, idempotency, fresh=first))

        return await repeated(attempt)

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
        async with self._transactions.change(user, conversation) as connection:
            held = await hold(connection, user, conversation)
            state = held.living.state
            if not isinstance(title, Unset):
                state = replace(state, title=title)
            if not isinstance(model, Unset):
                state = replace(state, model=model)
            if not isinstance(metadata, Unset):
                state = replace(state, metadata=metadata)
            after = held.update(state, at_ms=at_ms)
            await held.write()
            return after

    async def delete(self, user: UserId, conversation: ConversationId, *, at_ms: int) -> None:
        """Delete a conversation for ever."""
        async with self._transactions.change(user, conversation) as connection:
            held = await hold(connection, user, conversation)
            held.delete(at_ms=at_ms)
            await held.write()

    async def wait_persisted(self, user: UserId, appended: Appended, *, within: float) -> bool:
        """True at once where the change was made here: it is committed. One that was made on a log is looked
        up."""
        if appended.position is None:
            return True
        numbers = [numbered(message).sequence_number for message in appended.messages]
        try:
            async with self._transactions.one_read(user, appended.conversation_id) as queries:
                stored = await queries.messages_by_number(user, appended.conversation_id, numbers)
        except StoreUnavailable:
            return False
        return set(appended.messages) <= {message.served for message in stored}

    async def _append(self, held: HeldConversation, sent: _Sent) -> Appended:
        header, messages = held.living, sent.messages
        if sent.idempotency is not None:
            numbers = await remembered(held.connection, held.user, sent.idempotency)
            if numbers is not None:
                return await _answered_before(held, messages, numbers)
        known = await _known(held, messages) if sent.may_be_known else {}
        new = [message for message in messages if message.id not in known]
        if new and sent.title is not None and header.state.title is None:
            held.update(replace(header.state, title=sent.title), at_ms=sent.at_ms)
        if new:
            held.append(new, at_ms=sent.at_ms)
        fresh = {
            message.id: Numbered(header.next_sequence_number + i, message.body)
            for i, message in enumerate(new)
        }
        answer = [known.get(message.id) or fresh[message.id] for message in messages]
        await held.write()
        await self._remember(held, sent.idempotency, [message.sequence_number for message in answer])
        return Appended(held.id, [message.served for message in answer], None, len(messages) - len(new))

    async def _remember(
        self, held: HeldConversation, idempotency: Idempotency | None, numbers: list[int]
    ) -> None:
        if idempotency is not None:
            ttl = self._key_ttl_seconds
            await remember(held.connection, held.user, idempotency, numbers, ttl_seconds=ttl)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What an append was sent. `fresh`: no try before this one may have been committed. `title`: for a
    conversation that has none."""

    messages: Sequence[NewMessage]
    at_ms: int
    idempotency: Idempotency | None
    fresh: bool
    title: str | None = None

    @property
    def may_be_known(self) -> bool:
        """Whether a message may be there already: an id that was made just now is nowhere."""
        return not self.fresh or any(message.id_given for message in self.messages)


async def _held(
    connection: Connection, user: UserId, conversation: ConversationId, at_ms: int, *, fresh: bool
) -> HeldConversation:
    """A conversation that may be created here. A `fresh` id is nobody else's: there is nothing to lock."""
    if fresh:
        return HeldConversation(connection, user, conversation, None)
    return await hold(connection, user, conversation, begun_at_ms=at_ms)


async def _known(held: HeldConversation, messages: Sequence[NewMessage]) -> dict[MessageId, Numbered]:
    """Which of `messages` are there already. Raises MessageIdConflict for one with another body,
    MessageRemoved for one that was deleted."""
    queries = Queries(held.connection.fetch)
    stored = await queries.messages_by_id(held.user, held.id, [message.id for message in messages])
    if stored.removed:
        raise MessageRemoved(sorted(stored.removed))
    for message in messages:
        found = stored.found.get(message.id)
        if found is not None and not same_as_stored(message, found.body):
            raise MessageIdConflict(message.id)
    return stored.found


async def _answered_before(
    held: HeldConversation, messages: Sequence[NewMessage], numbers: list[int]
) -> Appended:
    """The first answer again, with the messages as they are stored: their times are the first's."""
    pairs = zip(numbers, messages, strict=True)
    ours = {number: Numbered(number, message.body) for number, message in pairs}
    stored = await Queries(held.connection.fetch).messages_by_number(held.user, held.id, numbers)
    ours |= {message.sequence_number: message for message in stored}
    return Appended(held.id, [ours[number].served for number in numbers], None, len(numbers))

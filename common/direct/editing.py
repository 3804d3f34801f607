"""Changes of messages that are there, each one transaction on the locked conversation."""

from __future__ import annotations

from common.direct.conversation import HeldConversation, hold_living
from common.direct.remembering import remember, remembered
from common.direct.transactions import Transactions, repeated
from common.domain.conversations import Header
from common.domain.errors import MessageNotFound
from common.domain.ids import ConversationId, MessageId, UserId
from common.domain.messages import Numbered, body_digest, parse_body
from common.domain.publishing import Edited, Idempotency, Revise, Truncated
from common.postgres.store import Queries


class DirectEditor:
    """Changes messages. What returns is acknowledged: it is committed. See `EditorPort`.

    `key_ttl_seconds` is how long an idempotency key is kept.
    """

    def __init__(self, transactions: Transactions, *, key_ttl_seconds: int) -> None:
        self._transactions = transactions
        self._key_ttl_seconds = key_ttl_seconds

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
        """Give a message the body that `revise` makes of its own. One that is so already is left alone."""

        async def attempt(_: bool) -> Edited:
            async with self._transactions.change(user, conversation) as connection:
                held = await hold_living(connection, user, conversation)
                found = await _find(held, message_id)
                if await self._was_done(held, idempotency):
                    return Edited(found.served, None, replayed=True)
                revised = revise(found.body)
                if revised.digest != body_digest(parse_body(found.body)):
                    held.edit(found.sequence_number, revised, at_ms=at_ms)
                    found = Numbered(found.sequence_number, revised.body)
                await self._write(held, idempotency)
                return Edited(found.served, None)

        return await repeated(attempt)

    async def delete(
        self, user: UserId, conversation: ConversationId, message_id: MessageId, *, at_ms: int
    ) -> None:
        """Delete a message for ever; its number stays a gap."""
        async with self._transactions.change(user, conversation) as connection:
            held = await hold_living(connection, user, conversation)
            found = await _find(held, message_id)
            held.remove(message_id, found.sequence_number, at_ms=at_ms)
            await held.write()

    async def truncate(
        self,
        user: UserId,
        conversation: ConversationId,
        after: int,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Truncated:
        """Delete all messages behind number `after` (-1: all) for ever; their numbers stay gaps."""

        async def attempt(_: bool) -> Truncated:
            async with self._transactions.change(user, conversation) as connection:
                held = await hold_living(connection, user, conversation)
                if await self._was_done(held, idempotency):
                    return Truncated(held.living, None, replayed=True)
                if await Queries(connection.fetch).count_after(user, conversation, after):
                    held.truncate(after, at_ms=at_ms)
                await self._write(held, idempotency)
                return Truncated(await _header(held), None)

        return await repeated(attempt)

    async def _was_done(self, held: HeldConversation, idempotency: Idempotency | None) -> bool:
        if idempotency is None:
            return False
        return await remembered(held.connection, held.user, idempotency) is not None

    async def _write(self, held: HeldConversation, idempotency: Idempotency | None) -> None:
        await held.write()
        if idempotency is not None:
            ttl = self._key_ttl_seconds
            await remember(held.connection, held.user, idempotency, [], ttl_seconds=ttl)


async def _find(held: HeldConversation, message_id: MessageId) -> Numbered:
    by_id = await Queries(held.connection.fetch).messages_by_id(held.user, held.id, [message_id])
    if message_id not in by_id.found:
        raise MessageNotFound(message_id)
    return by_id.found[message_id]


async def _header(held: HeldConversation) -> Header:
    """The conversation as it is after what was written: its count and preview follow from its messages."""
    loaded = await Queries(held.connection.fetch).load(held.user, held.id, 0)
    return loaded.header if loaded else held.living

"""Reads of messages from PostgreSQL alone."""

from __future__ import annotations

from common.direct.transactions import Transactions
from common.domain.conversations import Header
from common.domain.errors import ConversationNotFound
from common.domain.ids import ConversationId, UserId
from common.domain.paging import Page, Window
from common.domain.parts import Part
from common.postgres.store import Loaded, Queries


class DirectHistory:
    """Reads of one conversation's messages and header; see `HistoryPort`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def recent(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        """The newest `limit` messages, oldest first."""
        async with self._transactions.one_read(user, conversation) as queries:
            loaded = _living(await queries.load(user, conversation, limit), conversation)
        return [message.served for message in loaded.messages]

    async def window(self, user: UserId, conversation: ConversationId, window: Window) -> list[bytes]:
        """The messages of `window`, ascending."""
        async with self._transactions.one_read(user, conversation) as queries:
            found = await queries.window(user, conversation, window)
        if not found:
            # Nothing there, or no conversation: only here it takes a second statement to tell.
            async with self._transactions.snapshot(user, conversation) as queries:
                await _header(queries, user, conversation)
                found = await queries.window(user, conversation, window)
        return [message.served for message in found]

    async def page(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        page: int,
        page_size: int,
        descending: bool = False,
    ) -> Page:
        """Page `page` (from 1) of the whole history."""
        offset = (page - 1) * page_size
        async with self._transactions.snapshot(user, conversation) as queries:
            header = await _header(queries, user, conversation)
            total = header.message_count
            if offset >= total:
                return Page([], total)
            if total != header.next_sequence_number:
                found = await queries.slice(
                    user, conversation, offset=offset, limit=page_size, descending=descending
                )
            else:
                # Without gaps the place is the number: nothing has to be counted off.
                last = min(offset + page_size, total)
                low, high = (total - last, total - offset) if descending else (offset, last)
                window = Window(page_size, after=low - 1, before=high)
                found = await queries.window(user, conversation, window)
                found = found[::-1] if descending else found
        return Page([message.served for message in found], total)

    async def part(
        self, user: UserId, conversation: ConversationId, *, after: int = -1, before: int | None = None
    ) -> Part:
        """The next messages between two sequence numbers, both exclusive, as many as a process may hold.
        Without `before`: of those that there are now."""
        async with self._transactions.snapshot(user, conversation) as queries:
            header = await _header(queries, user, conversation)
            before = header.next_sequence_number if before is None else before
            return Part(header, await queries.part(user, conversation, after=after, before=before))

    async def header(self, user: UserId, conversation: ConversationId) -> Header:
        """Title, model, times and counts."""
        async with self._transactions.one_read(user, conversation) as queries:
            return await _header(queries, user, conversation)


async def _header(queries: Queries, user: UserId, conversation: ConversationId) -> Header:
    return _living(await queries.load(user, conversation, 0), conversation).header


def _living(loaded: Loaded | None, conversation: ConversationId) -> Loaded:
    if loaded is None or loaded.header.deleted:
        raise ConversationNotFound(conversation)
    return loaded

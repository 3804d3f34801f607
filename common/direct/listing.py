"""A user's conversations, last modified first, from PostgreSQL alone."""

from __future__ import annotations

from collections.abc import Iterable

from common.direct.transactions import Transactions
from common.domain.conversations import Header, finish_summary
from common.domain.cursors import ConversationList, make_cursor, parse_cursor
from common.domain.ids import ConversationId, UserId
from common.domain.paging import Page


class DirectListing:
    """Reads of the lists of users' conversations; see `ListingPort`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def after_cursor(
        self, user: UserId, *, limit: int, cursor: str | None = None, since_ms: int = 0
    ) -> ConversationList:
        """The user's conversations, last modified first, from `cursor` on."""
        before = parse_cursor(cursor) if cursor is not None else None
        async with self._transactions.one_read(user) as queries:
            found = await queries.conversations(user, limit=limit + 1, before=before, since_ms=since_ms)
        more = len(found) > limit
        last = make_cursor(found[limit - 1].last_modified_ms, found[limit - 1].id) if more else None
        return ConversationList(_rows(found[:limit]), last)

    async def page(self, user: UserId, *, page: int, page_size: int, since_ms: int = 0) -> Page:
        """Page `page` (from 1) of the user's conversations, last modified first."""
        offset = (page - 1) * page_size
        async with self._transactions.snapshot(user) as queries:
            found = await queries.conversations(user, limit=page_size, offset=offset, since_ms=since_ms)
            total = await queries.count_conversations(user, since_ms=since_ms)
        return Page(_rows(found), total)

    async def ids(
        self, user: UserId, *, after: ConversationId | None = None, limit: int
    ) -> list[ConversationId]:
        """The user's conversations in the order of their ids, which no change moves."""
        async with self._transactions.one_read(user) as queries:
            return await queries.conversation_ids(user, after=after, limit=limit)


def _rows(headers: Iterable[Header]) -> list[bytes]:
    return [finish_summary(header.summary(), header.last_modified_ms) for header in headers]

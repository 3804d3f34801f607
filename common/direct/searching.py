"""Full text search in PostgreSQL alone."""

from __future__ import annotations

from common.direct.transactions import Transactions
from common.domain.ids import UserId
from common.domain.search.hits import Hits
from common.domain.search.wanted import Wanted, parse_place


class DirectSearch:
    """Full text search over one user's messages; see `SearchPort`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def find(self, user: UserId, wanted: Wanted, *, limit: int, cursor: str | None = None) -> Hits:
        """The user's messages that `wanted` finds, best first, from `cursor` on."""
        after = parse_place(cursor, wanted) if cursor is not None else None
        async with self._transactions.one_read(user) as queries:
            return await queries.search(user, wanted, limit=limit, after=after)

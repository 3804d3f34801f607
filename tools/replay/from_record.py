"""Events from the record: all conversations by user and id, then all queries."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from common.postgres.pool import Pool
from common.postgres.retelling import Retelling, first_events
from common.redis.keys import Keys
from tools.replay.page import Cursor, Item, Page
from tools.replay.selection import Selection

CONVERSATIONS: Final = "conversation"
QUERIES: Final = "query"


class RecordSource:
    """A cursor is the kind of row and its key. A conversation counts as done when all of it is.

    With `names_only` a conversation is one event, for targets that only want to know which there are.
    """

    def __init__(self, pool: Pool, keys: Keys, selection: Selection, *, names_only: bool = False) -> None:
        self._retelling = Retelling(pool, selection.wanted())
        self._keys = keys
        self._partitions = frozenset(selection.partitions(keys))
        self._names_only = names_only

    async def total(self) -> int | None:
        return None

    async def pages(self, after: Cursor | None) -> AsyncGenerator[Page]:
        if after is None or after[0] == CONVERSATIONS:
            async for page in self._conversations(after):
                yield page
            after = None
        if not self._names_only:
            async for page in self._queries(after):
                yield page

    async def _conversations(self, after: Cursor | None) -> AsyncGenerator[Page]:
        done = (after[1], after[2]) if after else None
        while rows := await self._retelling.conversations(done):
            for row in rows:
                if self._keys.partition(row["user_id"]) in self._partitions:
                    async for page in self._conversation(row, done):
                        yield page
                done = row["user_id"], row["id"]
            if done:
                yield Page([], 0, (CONVERSATIONS, *done))

    async def _conversation(self, row: Any, before: tuple[str, str] | None) -> AsyncGenerator[Page]:
        # Until its last event is done, a conversation is begun again from its first: applying it twice is
        # applying it once.
        partition = self._keys.partition(row["user_id"])
        cursor = (CONVERSATIONS, *(before or ("", "00000000-0000-0000-0000-000000000000")))
        if self._names_only:
            events = first_events(row)
            yield Page([Item(partition, event, cursor) for event in events], len(events), cursor)
            return
        async for events in self._retelling.events(row):
            yield Page([Item(partition, event, cursor) for event in events], len(events), cursor)

    async def _queries(self, after: Cursor | None) -> AsyncGenerator[Page]:
        done = (after[1], after[2]) if after else None
        while queries := await self._retelling.query_logs(done):
            items = [
                Item(self._keys.partition(query.user_id), query, (QUERIES, query.user_id, query.log_id))
                for query in queries
            ]
            done = queries[-1].user_id, queries[-1].log_id
            wanted = [item for item in items if item.partition in self._partitions]
            yield Page(wanted, len(items), (QUERIES, *done))

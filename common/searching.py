"""Full text search: in PostgreSQL, with what is pending laid over it."""

from __future__ import annotations

import asyncio
from typing import Final

from common.domain.errors import Overloaded
from common.domain.events import ConversationDeleted
from common.domain.ids import ConversationId, UserId
from common.domain.overlay import pending_messages
from common.domain.search.hits import Hits, PendingMessage, Unrecorded
from common.domain.search.wanted import Wanted, parse_place
from common.postgres.store import Store
from common.redis.cache import Cache

MAX_PENDING: Final = 500
"""Conversations of one user with anything pending. Over it a search is refused for the moment: it would be
answered with less than was acknowledged, or read a backlog through."""


class Search:
    """Full text search over one user's messages; see `SearchPort`."""

    def __init__(self, cache: Cache, store: Store, *, max_pending: int = MAX_PENDING) -> None:
        self._cache = cache
        self._store = store
        self._max_pending = max_pending

    async def find(self, user: UserId, wanted: Wanted, *, limit: int, cursor: str | None = None) -> Hits:
        """The user's messages that `wanted` finds, best first, from `cursor` on."""
        after = parse_place(cursor, wanted) if cursor is not None else None
        # What is pending first, PostgreSQL after: the other way round, what is committed in between would
        # be in neither.
        unrecorded = await self._unrecorded(user)
        return await self._store.search(user, wanted, unrecorded, limit=limit, after=after)

    async def _unrecorded(self, user: UserId) -> Unrecorded:
        pending = await self._cache.list_peek(user)
        if len(pending.ids) > self._max_pending:
            raise Overloaded("Many of your messages are still being recorded; search again in a moment")
        found = Unrecorded(titles={header.id: header.state.title for header in pending.headers})
        await asyncio.gather(*(self._add(found, user, conversation) for conversation in pending.ids))
        return found

    async def _add(self, found: Unrecorded, user: UserId, conversation: ConversationId) -> None:
        header, events = await self._cache.peek(user, conversation)
        gone = any(isinstance(event, ConversationDeleted) for event in events)
        if gone or (header is not None and header.deleted):
            found.deleted.append(conversation)
            return
        pending = pending_messages(events)
        found.hidden.extend((conversation, number) for number in pending.hidden)
        found.messages.extend(
            PendingMessage(conversation, number, message.body, pending.versions[number])
            for number, message in pending.bodies.items()
        )

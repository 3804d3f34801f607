"""A user's conversations, last modified first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from common.domain.conversations import Header, finish_summary
from common.domain.cursors import ConversationList, make_cursor, parse_cursor
from common.domain.ids import ConversationId, UserId
from common.domain.paging import Page, merged_slice
from common.loading import CacheCounts, Loader
from common.postgres.store import Store
from common.redis.cache import Beyond, Cache, ListRows


class Listing:
    """Reads of the lists of users' conversations. Raises InvalidCursor and the Busy family."""

    def __init__(self, cache: Cache, store: Store, loader: Loader, counts: CacheCounts) -> None:
        self._cache = cache
        self._store = store
        self._loader = loader
        self._counts = counts

    async def after_cursor(
        self, user: UserId, *, limit: int, cursor: str | None = None, since_ms: int = 0
    ) -> ConversationList:
        """The user's conversations, last modified first, from `cursor` on."""
        before = parse_cursor(cursor) if cursor is not None else None
        found = await self._listed(
            user,
            lambda: self._cache.list_read(user, limit=limit + 1, before=before, since_ms=since_ms),
        )
        if found is not None:
            rows = found.rows
        else:
            rows = await self._stored_rows(user, limit + 1, before=before, since_ms=since_ms)
        cursor = make_cursor(rows[limit - 1][1], rows[limit - 1][0]) if len(rows) > limit else None
        return ConversationList(_finished(rows[:limit]), cursor)

    async def page(self, user: UserId, *, page: int, page_size: int, since_ms: int = 0) -> Page:
        """Page `page` (from 1) of the user's conversations, last modified first."""
        offset = (page - 1) * page_size
        found = await self._listed(
            user,
            lambda: self._cache.list_read(user, limit=page_size, offset=offset, since_ms=since_ms),
        )
        if found is not None and found.total is not None:
            return Page(_finished(found.rows), found.total)
        pending = await self._loader.pending_rows(user)
        ids = pending.ids
        alive = [header for header in pending.alive if header.last_modified_ms >= since_ms]
        alive.sort(key=lambda h: h.order, reverse=True)
        start = max(0, offset - len(alive))
        stored = await self._store.conversations(
            user,
            limit=offset + page_size - start,
            offset=start,
            since_ms=since_ms,
            excluding=ids,
        )
        merged = merged_slice(stored, alive, start, offset, page_size, key=lambda h: h.order, reverse=True)
        total = await self._store.count_conversations(user, since_ms=since_ms, excluding=ids)
        return Page(_finished(map(_row, merged)), total + len(alive))

    async def ids(
        self, user: UserId, *, after: ConversationId | None = None, limit: int
    ) -> list[ConversationId]:
        """The user's conversations in the order of their ids, which no change moves; one that was just
        deleted may be among them."""
        # What is pending first, PostgreSQL after: what is committed in between is in one of them.
        pending = await self._loader.pending_rows(user)
        stored = await self._store.conversation_ids(user, after=after, limit=limit)
        found = {*stored, *(header.id for header in pending.alive), *pending.headless}
        return sorted(conversation for conversation in found if after is None or conversation > after)[:limit]

    async def _listed(self, user: UserId, read: Callable[[], Awaitable[ListRows | None]]) -> ListRows | None:
        """Read the user's cached list, loading it where it is absent; None where it has not the page."""
        try:
            found = await read()
            if found is not None:
                self._counts.hits += 1
                return found
            self._counts.misses += 1
            await self._loader.user_list(user)
            return await read()
        except Beyond:
            self._counts.misses += 1
            return None

    async def _stored_rows(
        self, user: UserId, limit: int, *, before: tuple[int, str] | None, since_ms: int
    ) -> list[tuple[ConversationId, int, bytes]]:
        pending = await self._loader.pending_rows(user)
        stored = await self._store.conversations(
            user,
            limit=limit,
            before=before,
            since_ms=since_ms,
            excluding=pending.ids,
        )
        union = [
            *stored,
            *(
                header
                for header in pending.alive
                if header.last_modified_ms >= since_ms and (before is None or header.order < before)
            ),
        ]
        union.sort(key=lambda header: header.order, reverse=True)
        return [_row(header) for header in union[:limit]]


def _row(header: Header) -> tuple[ConversationId, int, bytes]:
    return header.id, header.last_modified_ms, header.summary()


def _finished(rows: Iterable[tuple[ConversationId, int, bytes]]) -> list[bytes]:
    return [finish_summary(summary, modified) for _, modified, summary in rows]

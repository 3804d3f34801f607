"""Reads of messages: the cached lists, else PostgreSQL with what is pending laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.domain.conversations import Header
from common.domain.errors import ConversationNotFound
from common.domain.ids import ConversationId, UserId
from common.domain.messages import BIGINT_MAX, Numbered, numbered
from common.domain.overlay import Pending, overlay, overlay_header, pending_messages
from common.domain.paging import Page, Window, merged_slice
from common.domain.parts import Part
from common.loading import CacheCounts, Loader
from common.postgres.store import Loaded, Queries, Store
from common.rebuild import Rebuilder
from common.redis.cache import Cache

PENDING_BYTES: Final = 16 * 1024 * 1024
"""How much of a conversation may wait for PostgreSQL when it is read in parts: more than one append."""


class History:
    """Reads of one conversation's messages and header.

    Raises ConversationNotFound (absent, deleted or another user's: one answer) and the Busy family where
    a server that is needed is away.
    """

    def __init__(
        self,
        cache: Cache,
        store: Store,
        rebuilder: Rebuilder,
        loader: Loader,
        counts: CacheCounts,
        *,
        length: int,
    ) -> None:
        self._cache = cache
        self._store = store
        self._rebuilder = rebuilder
        self._loader = loader
        self._counts = counts
        self._length = length

    async def recent(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        """The newest `limit` messages, oldest first."""
        messages = await self._cached(user, conversation, limit)
        if len(messages) == limit or not messages or _is_first(messages[0]):
            return messages
        older = await self._stored_window(
            user, conversation, Window(limit - len(messages), before=numbered(messages[0]).sequence_number)
        )
        return [*older, *messages]

    async def window(self, user: UserId, conversation: ConversationId, window: Window) -> list[bytes]:
        """The messages of `window`, ascending."""
        cached = await self._cached(user, conversation, self._length)
        found = _covered(cached, window)
        if found is not None:
            return found
        return await self._stored_window(user, conversation, window)

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
        header = await self.header(user, conversation)
        total = header.message_count
        if total != header.next_sequence_number:
            return await self._page_with_gaps(user, conversation, page, page_size, descending)
        first = (page - 1) * page_size
        if first >= total:
            return Page([], total)
        last = min(first + page_size, total)
        low, high = (total - last, total - first) if descending else (first, last)
        items = await self.window(user, conversation, Window(high - low, after=low - 1, before=high))
        return Page(items[::-1] if descending else items, total)

    async def header(self, user: UserId, conversation: ConversationId) -> Header:
        """Title, model, times and counts."""
        header = await self._cache.header(user, conversation)
        if header is None:
            await self._loader.conversation(user, conversation)
            header = await self._cache.header(user, conversation)
        if header is None:
            header, _ = await self._rebuilder.uncached(user, conversation)
        if header.deleted:
            raise ConversationNotFound(conversation)
        return header

    async def part(
        self, user: UserId, conversation: ConversationId, *, after: int = -1, before: int | None = None
    ) -> Part:
        """The next messages between two sequence numbers, both exclusive, as many as a process may hold; read
        past the caches. Without `before`: of those that there are now."""
        cached, events = await self._cache.peek(user, conversation, most_bytes=PENDING_BYTES)
        end = before if before is not None else cached.next_sequence_number if cached else BIGINT_MAX
        pending = pending_messages(events)

        async def read(queries: Queries, known: Pending) -> tuple[list[Numbered], Loaded | None]:
            found = await queries.part(user, conversation, after=after, before=end, excluding=known.touched)
            # Asked last: what was read of a conversation that is gone by now is not given out.
            return found, await queries.load(user, conversation, 0)

        (stored, loaded), pending = await self._store.read_beside(user, conversation, pending, read)
        await self._refuse_torn(user, conversation)
        recorded = loaded.header if loaded else None
        header = cached or overlay_header(recorded, events)
        if header is None or header.deleted or (recorded is not None and recorded.deleted):
            raise ConversationNotFound(conversation)
        # What is pending behind the last of them is for the next part: PostgreSQL may have more in between.
        end = stored[-1].sequence_number + 1 if stored else end
        added = [message for number, message in pending.bodies.items() if after < number < end]
        return Part(header, sorted([*stored, *added], key=lambda message: message.sequence_number))

    async def by_number(
        self, user: UserId, conversation: ConversationId, sequence_numbers: Sequence[int]
    ) -> dict[int, bytes]:
        """Those of the messages with these numbers that are there, as served."""
        cached = await self._cached(user, conversation, self._length)
        found = {numbered(message).sequence_number: message for message in cached}
        missing = [number for number in sequence_numbers if number not in found]
        if missing:
            pending = await self._pending(user, conversation)
            stored, pending = await self._store.read_beside(
                user,
                conversation,
                pending,
                lambda queries, _: queries.messages_by_number(user, conversation, missing),
            )
            await self._refuse_torn(user, conversation)
            found |= {message.sequence_number: message.served for message in overlay(stored, pending)}
        return {number: found[number] for number in sequence_numbers if number in found}

    async def _cached(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        messages = await self._cache.tail(user, conversation, limit)
        if messages:
            self._counts.hits += 1
            return messages
        self._counts.misses += 1
        await self._loader.conversation(user, conversation)
        # Each reader reads the cache for itself: what a load saw may be older than this reader's own
        # last append, what the cache holds now is not.
        messages = await self._cache.tail(user, conversation, limit)
        if messages:
            return messages
        header = await self._cache.header(user, conversation)
        if header is not None and not header.deleted and header.message_count == 0:
            return []
        _, messages = await self._rebuilder.uncached(user, conversation)
        return messages[-limit:]

    async def _stored_window(self, user: UserId, conversation: ConversationId, window: Window) -> list[bytes]:
        # What is pending first, PostgreSQL after: the other way round, what is committed in between
        # would be in neither.
        pending = await self._pending(user, conversation)
        stored, pending = await self._store.read_beside(
            user,
            conversation,
            pending,
            lambda queries, known: queries.window(user, conversation, window, excluding=known.touched),
        )
        await self._refuse_torn(user, conversation)
        added = (message for number, message in pending.bodies.items() if number in window)
        union = {message.sequence_number: message for message in (*stored, *added)}
        return window.cut([union[number].served for number in sorted(union)])

    async def _page_with_gaps(
        self,
        user: UserId,
        conversation: ConversationId,
        page: int,
        page_size: int,
        descending: bool,
    ) -> Page:
        pending = await self._pending(user, conversation)
        offset = (page - 1) * page_size

        async def read(queries: Queries, known: Pending) -> tuple[list[Numbered], int]:
            added = [known.bodies[number] for number in sorted(known.bodies, reverse=descending)]
            start = max(0, offset - len(added))
            stored = await queries.slice(
                user,
                conversation,
                offset=start,
                limit=offset + page_size - start,
                excluding=known.touched,
                descending=descending,
            )
            merged = merged_slice(
                stored,
                added,
                start,
                offset,
                page_size,
                key=lambda message: message.sequence_number,
                reverse=descending,
            )
            total = await queries.count_messages(user, conversation, excluding=known.touched)
            return merged, total + len(added)

        (merged, total), _ = await self._store.read_beside(user, conversation, pending, read)
        await self._refuse_torn(user, conversation)
        return Page([message.served for message in merged], total)

    async def _pending(self, user: UserId, conversation: ConversationId) -> Pending:
        header, events = await self._cache.peek(user, conversation)
        if header is not None and header.deleted:
            raise ConversationNotFound(conversation)
        return pending_messages(events)

    async def _refuse_torn(self, user: UserId, conversation: ConversationId) -> None:
        """Refuse what was read before a delete and after it: pending events without what is gone from
        PostgreSQL would be a part that looks like the whole."""
        header = await self._cache.header(user, conversation)
        if header is not None and header.deleted:
            raise ConversationNotFound(conversation)


def _is_first(served: bytes) -> bool:
    return served.startswith(b'{"sequence_number":0,')


def _covered(cached: list[bytes], window: Window) -> list[bytes] | None:
    """The window out of the cached list, where that has all of it."""
    if not cached:
        return []
    messages = [numbered(message) for message in cached]
    first = messages[0].sequence_number
    inside = [message.served for message in messages if message.sequence_number in window]
    whole = first == 0 or (window.after is not None and window.after >= first - 1)
    if not whole and not (window.of_last and len(inside) >= window.limit):
        return None
    return window.cut(inside)

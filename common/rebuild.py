"""The one rebuild: what PostgreSQL has, what is pending laid over it, installed in the cache.

Run by the cache builder when a gateway asks, and by a gateway itself where no builder answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog

from common.domain.conversations import Header
from common.domain.errors import ConversationNotFound
from common.domain.events import ConversationEvent
from common.domain.ids import ConversationId, UserId
from common.domain.messages import Numbered
from common.domain.overlay import Pending, lacking, overlay, overlay_header, pending_messages
from common.postgres.store import Loaded, Store
from common.redis.cache import Cache, ListBegun, LoadBegun, PendingRows, Status

ATTEMPTS: Final = 5
_FIRST_POLL_SECONDS: Final = 0.002
_LONGEST_POLL_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)
Begun = TypeVar("Begun", LoadBegun, ListBegun)


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such conversation, in either store. Whoever holds `token` may create it."""

    token: str


class Rebuilder:
    """Loads conversations and users' lists into the cache. Raises the Busy family, nothing else."""

    def __init__(self, cache: Cache, store: Store, *, length: int, list_length: int, lease_ms: int) -> None:
        self._cache = cache
        self._store = store
        self._length = length
        self._list_length = list_length
        self._lease_ms = lease_ms

    async def conversation(self, user: UserId, conversation: ConversationId) -> None:
        """Load a conversation, as far as others let us: it may still not be cached after.

        Raises ConversationNotFound.
        """
        for attempt in range(ATTEMPTS):
            begun = await self._begin(user, conversation)
            if begun.status is Status.DELETED:
                raise ConversationNotFound(conversation)
            if begun.status is Status.READY:
                return
            installed = await self._read_and_install(user, conversation, begun)
            if installed is None:
                await self._cache.abandon(user, conversation, begun.token)
                raise ConversationNotFound(conversation)
            if installed:
                return
            log.debug("rebuild_overtaken", conversation=conversation, attempt=attempt + 1)

    async def absent(self, user: UserId, conversation: ConversationId) -> Absent | None:
        """Load a conversation if there is one (None); else the right to create it."""
        begun = await self._begin(user, conversation)
        if begun.status in (Status.DELETED, Status.READY):
            return None
        found = await self._read_and_install(user, conversation, begun, deleted_too=True)
        return Absent(begun.token) if found is None else None

    async def user_list(self, user: UserId) -> None:
        """Load a user's list of conversations, as far as others let us: it may still be absent after."""
        for _ in range(ATTEMPTS):
            begun: ListBegun = await self._wait_while_building(
                lambda last: self._cache.list_begin(user, lease_ms=self._lease_ms, take_over=last)
            )
            if begun.status is Status.READY:
                return
            try:
                headers, floor = await self._read_list(user, await self._with_headless(user, begun.pending))
            except BaseException:
                await self._cache.abandon_list(user, begun.token)
                raise
            if await self._cache.list_install(user, begun.token, headers, floor=floor):
                return

    async def uncached(self, user: UserId, conversation: ConversationId) -> tuple[Header, list[bytes]]:
        """Header and newest messages past the cache: for when others keep us from installing them.

        Raises ConversationNotFound.
        """
        header, events = await self._cache.peek(user, conversation)
        pending = pending_messages(events)
        loaded = await self._store.load(user, conversation, self._length, pending)
        header = header or _header_after(loaded, events)
        # Deleted since the peek: its pending events would be a part that looks like the whole.
        if header is None or header.deleted or (loaded is not None and loaded.header.deleted):
            raise ConversationNotFound(conversation)
        return header, [message.served for message in newest(loaded, pending, self._length)]

    async def _begin(self, user: UserId, conversation: ConversationId) -> LoadBegun:
        return await self._wait_while_building(
            lambda last: self._cache.load_begin(user, conversation, lease_ms=self._lease_ms, take_over=last)
        )

    async def _wait_while_building(self, begin: Callable[[bool], Awaitable[Begun]]) -> Begun:
        """Begin, or wait for whoever has; a lease that ran out is taken over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lease_ms / 1000
        pause = _FIRST_POLL_SECONDS
        while True:
            begun = await begin(loop.time() >= deadline)
            if begun.status is not Status.BUILDING:
                return begun
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)

    async def _read_and_install(
        self,
        user: UserId,
        conversation: ConversationId,
        begun: LoadBegun,
        *,
        deleted_too: bool = False,
    ) -> bool | None:
        """Read PostgreSQL, after what is pending was read; install. None where there is nothing."""
        try:
            pending = pending_messages(begun.events)
            loaded = await self._store.load(user, conversation, self._length, pending)
        except BaseException:
            # Whoever waits for this load must not wait for its lease to run out.
            await self._cache.abandon(user, conversation, begun.token)
            raise
        header = begun.header or _header_after(loaded, begun.events)
        if header is None or (header.deleted and not deleted_too):
            return None
        # What is still pending of a deleted conversation came before its delete.
        below = header.next_sequence_number
        found = [] if header.deleted else newest(loaded, pending, self._length, below=below)
        return await self._cache.load_install(user, begun, header, [message.served for message in found])

    async def pending_rows(self, user: UserId) -> PendingRows:
        """What a reader past the cached list lays over PostgreSQL's answer; to be called before it."""
        return await self._with_headless(user, await self._cache.list_peek(user))

    async def _with_headless(self, user: UserId, pending: PendingRows) -> PendingRows:
        """With the rows of those that have anything pending, but no header in Redis: it was dropped because
        it was not what the record has, and nobody has loaded it since."""
        headers = list(pending.headers)
        for conversation in pending.headless:
            with suppress(ConversationNotFound):
                headers.append((await self.uncached(user, conversation))[0])
        return replace(pending, headers=headers)

    async def _read_list(self, user: UserId, pending: PendingRows) -> tuple[list[Header], int]:
        stored = await self._store.conversations(user, limit=self._list_length + 1, excluding=pending.ids)
        union = [*stored, *pending.alive]
        union.sort(key=lambda header: header.order, reverse=True)
        if len(stored) <= self._list_length:
            return union, 0
        floor = union[self._list_length].last_modified_ms
        return [header for header in union if header.last_modified_ms > floor], floor


def _header_after(loaded: Loaded | None, events: list[ConversationEvent]) -> Header | None:
    """The header where Redis has none: what was stored, with pending `events` laid over it."""
    if loaded is None:
        return overlay_header(None, events)
    return overlay_header(loaded.header, lacking(events, loaded.pending), all_lacking=True)


def newest(
    loaded: Loaded | None, pending: Pending, length: int, *, below: int | None = None
) -> list[Numbered]:
    """The newest `length` messages: stored ones with what is `pending` laid over, ascending.

    `below` leaves out what was numbered later than the caller knows of: a rebuild's journal has it.
    """
    stored = loaded.messages if loaded else []
    # Where more is stored than was read, an older message that a pending event names is not ours to
    # show: there would be a hole behind it.
    floor = stored[0].sequence_number if len(stored) >= length else 0
    union = overlay(stored, loaded.pending if loaded else pending)
    return [
        message
        for message in union
        if message.sequence_number >= floor and (below is None or message.sequence_number < below)
    ][-length:]

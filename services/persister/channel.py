"""What lies between the readers and the writer: bounded, and each entry in it once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from common.redis.group import Entry


class Channel:
    """Entries that were read and are not settled yet, in the order in which they came.

    It is full with `max_entries` entries or `max_bytes` bytes waiting: whoever puts then waits, and reads
    no more. A batch is bounded by `max_bytes` too, because PostgreSQL takes only so much at once.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._unsettled: set[tuple[int, str]] = set()
        self._closed = False
        self._changed = asyncio.Condition()

    @property
    def unsettled(self) -> int:
        """How many entries were put and are not settled."""
        return len(self._unsettled)

    @property
    def closed(self) -> bool:
        """Whether nothing more will be put."""
        return self._closed

    async def put(self, entries: Iterable[Entry]) -> None:
        """Add `entries` as soon as there is room. Those that are unsettled here already are left out:
        our own come back when we claim what has been waiting for long. Nothing is added once it is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or not self._is_full())
            if self._closed:
                return
            for entry in entries:
                if _name(entry) not in self._unsettled:
                    self._unsettled.add(_name(entry))
                    self._waiting.append(entry)
                    self._bytes += size_of(entry)
            self._changed.notify_all()

    async def take(self, max_entries: int, *, within: float | None = None) -> list[Entry]:
        """What is there, at once, up to `max_entries`; waits only for the first, `within` seconds at most.

        Empty when the channel is closed and nothing is left, or when the time is up.
        """
        async with self._changed:
            try:
                async with asyncio.timeout(within):
                    await self._changed.wait_for(lambda: (max_entries and self._waiting) or self._closed)
            except TimeoutError:
                return []
            taken: list[Entry] = []
            size = 0
            while self._waiting and len(taken) < max_entries:
                size += size_of(self._waiting[0])
                if taken and size > self._max_bytes:
                    break
                taken.append(self._waiting.popleft())
                self._bytes -= size_of(taken[-1])
            self._changed.notify_all()
            return taken

    def settle(self, entries: Iterable[Entry]) -> None:
        """Forget entries that were taken: they are committed or parked."""
        self._unsettled.difference_update(map(_name, entries))

    async def close(self) -> None:
        """Say that nothing more will be put."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._max_entries or self._bytes >= self._max_bytes


def _name(entry: Entry) -> tuple[int, str]:
    return entry.partition, entry.position


def size_of(entry: Entry) -> int:
    """The bytes of an entry's values."""
    return sum(map(len, entry.fields.values()))

"""One piece of work however many wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from common.domain.errors import Busy

MAX_RUNNING: Final = 256
"""Pieces of work at a time. They outlive those who asked, so no bound on requests bounds them."""

Key = TypeVar("Key")


class SingleFlight(Generic[Key]):
    """Runs the work for a key once at a time in this process; all who ask meanwhile wait for that.

    The work belongs to no caller: one that is cancelled neither ends it nor fails the others. It has no
    result, on purpose: one that is shared would be older than what the last of those who wait has done.
    """

    def __init__(self, *, max_running: int = MAX_RUNNING) -> None:
        self._max_running = max_running
        self._running: dict[Key, asyncio.Task[None]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._running

    async def run(self, key: Key, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the work under way for `key`, or begin `work`; raises what it raises, and Busy."""
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._max_running:
                raise Busy("too much is being loaded")
            task = asyncio.create_task(_awaited(work))
            self._running[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        await asyncio.shield(task)

    def _finished(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: every caller may have been cancelled


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()

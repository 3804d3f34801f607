"""What is told to a part of Redis that does not answer: the rest does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

PATIENCE_SECONDS: Final = 1.0


class Late:
    """Work that is waited for a while, and goes on behind the caller's back after that. There is little of
    it: from a part of Redis that is away nothing new is read."""

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Do `works` at once; return when they are done, or late. Raises what they, or late ones, raise."""
        tasks = {asyncio.create_task(work) for work in works}
        self._under_way |= tasks
        if tasks:
            await asyncio.wait(tasks, timeout=self._patience)
        self._take_note()

    async def finish(self) -> None:
        """Wait for all that is late."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._take_note()

    async def give_up(self) -> None:
        """End what is under way; the entries it is about come again."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()

    def _take_note(self) -> None:
        done = {task for task in self._under_way if task.done()}
        self._under_way -= done
        for task in done:
            task.result()

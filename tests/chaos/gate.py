"""A gate in front of every call of the workload, for who wants a moment without any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Gate:
    """Open unless paused. `under_way` counts the calls that have passed and not ended."""

    def __init__(self) -> None:
        self.under_way = 0
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def paused(self) -> bool:
        """Whether calls wait."""
        return not self._open.is_set()

    def pause(self) -> None:
        """From now on calls wait before they begin; those under way go on."""
        self._open.clear()

    def resume(self) -> None:
        """Let calls begin again."""
        self._open.set()

    async def idle(self) -> None:
        """Wait until no call is under way; it stays so while the gate is paused."""
        await self._idle.wait()

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None]:
        """What a call goes through."""
        await self._open.wait()
        self.under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._idle.set()

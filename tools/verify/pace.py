"""No more than so many a second, evenly."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets `rate` things through a second; None: as many as come."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, things: int) -> None:
        """Wait for the turn of `things`."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        self._free_at = turn + things / self._rate
        await asyncio.sleep(turn - now)

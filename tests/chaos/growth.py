"""How much memory each process holds over time, and whether it grows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Final

from tests.chaos.instance import Instance
from tests.chaos.memory import held_by

PERIOD_SECONDS: Final = 1.0
_MIB: Final = 1024 * 1024
SLACK_BYTES: Final = 32 * _MIB
SLACK_SHARE: Final = 0.25


class Growth:
    """Bytes of each service and server, second after second."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._seen: defaultdict[str, list[int]] = defaultdict(list)

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            for name in (*self._instance.services, "redis", "postgres"):
                self._seen[name].append(held_by(self._instance, name))
            await asyncio.sleep(PERIOD_SECONDS)

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Look until the block ends; what went wrong with looking comes out then."""
        watching = asyncio.create_task(self.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    def now(self) -> str:
        """The latest, in MiB, in a line."""
        return ", ".join(f"{name} {seen[-1] // _MIB}" for name, seen in self._seen.items())

    def thirds(self) -> dict[str, tuple[int, int]]:
        """The median of the first and of the last third of the time."""
        found = dict[str, tuple[int, int]]()
        for name, seen in self._seen.items():
            third = -(-len(seen) // 3)
            found[name] = int(median(seen[:third])), int(median(seen[-third:]))
        return found

    def too_much(self) -> list[str]:
        """The services that grew: a quarter, or 32 MiB where that is more, is what is not called so."""
        return [
            f"{name} grew from {first // _MIB} to {last // _MIB} MiB"
            for name, (first, last) in self.thirds().items()
            if name in self._instance.services and last - first > max(SLACK_BYTES, SLACK_SHARE * first)
        ]

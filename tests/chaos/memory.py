"""The most memory that each process of an instance was seen to hold."""

from __future__ import annotations

import asyncio
import platform
from contextlib import suppress
from typing import Final

import psutil

from tests.chaos.instance import Instance

_PERIOD_SECONDS: Final = 1.0


class Peaks:
    """Bytes by process. Of a server's many processes the private memory is added up."""

    def __init__(self, instance: Instance) -> None:
        self.bytes: dict[str, int] = {}
        self._instance = instance

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_PERIOD_SECONDS)

    def look(self) -> None:
        """Look now."""
        for name in (*self._instance.services, "redis", "postgres"):
            held = held_by(self._instance, name)
            self.bytes[name] = max(held, self.bytes.get(name, 0))


def held_by(instance: Instance, name: str) -> int:
    """Bytes that a service or server holds now."""
    return sum(_private(process) for process in instance.family(name))


def _private(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        memory = process.memory_info()
        return memory.rss - (memory.shared if platform.system() == "Linux" else 0)
    return 0

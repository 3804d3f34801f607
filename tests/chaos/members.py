"""The processes of an instance under attack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tools.embedded.server import ServerSpec
from tools.up.child import Child


@dataclass
class Service:
    """A process of ours. `port` is a gateway's own, `front` that of the link before it."""

    child: Child
    port: int = 0
    front: int = 0

    def family(self) -> list[psutil.Process]:
        """It and its workers; empty while it is not running."""
        return _family(self.child.pid)


@dataclass
class Server:
    """An embedded server. `before_start` is called whenever it is about to start, when nothing of it runs."""

    spec: ServerSpec
    child: Child = field(init=False)
    data: Path = field(init=False)
    before_start: Callable[[], None] = lambda: None

    def family(self) -> list[psutil.Process]:
        """The server's processes, without its guard; empty while it is not running."""
        try:
            pid, started = self.spec.pid_file.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(started)) > 1.0:
                return []
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []
        return _family(process.pid)


def _family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        if first.status() != psutil.STATUS_ZOMBIE:
            return [first, *first.children(recursive=True)]
    return []

"""How much memory a server of ours may have on this machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

# What bounds a container: control groups of version 2, then of version 1 (there "no bound" is a huge number).
_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_SHARE: Final = 0.5


def valkey_memory(total: int | None = None, limits: Iterable[Path] = _LIMITS) -> int:
    """Half of the machine's memory, or of its container's, in bytes: the rest is PostgreSQL's and ours.

    A Redis that reaches it refuses writes, which are answered 503; without a bound the kernel would kill it.
    """
    whole = psutil.virtual_memory().total if total is None else total
    return int(min(whole, *(_limit(path, whole) for path in limits)) * _SHARE)


def _limit(path: Path, whole: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return whole

"""What an `up` that was killed may have left behind: recorded as they start, stopped by the next `up`."""

import contextlib
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import psutil

_RECORD = "children.json"
_GRACE_SECONDS = 15.0


def record_children(data_dir: Path, pids: Iterable[int]) -> None:
    """Write down the processes that belong to this instance, with their start times."""
    children: list[tuple[int, float]] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            children.append((pid, psutil.Process(pid).create_time()))
    building = data_dir / f".{_RECORD}"
    building.write_text(json.dumps(children))
    building.rename(data_dir / _RECORD)


def stop_leftovers(data_dir: Path) -> int:
    """Stop what is left of an earlier instance, and return how many processes there were.

    They notice by themselves that their parent is gone, so this mostly waits for them.
    """
    leftovers = list(_leftovers(data_dir))
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(leftovers, timeout=_GRACE_SECONDS)
    for process in stubborn:
        # Each was made the leader of its group; its workers go with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=_GRACE_SECONDS)
    (data_dir / _RECORD).unlink(missing_ok=True)
    return len(leftovers)


def _leftovers(data_dir: Path) -> Iterable[psutil.Process]:
    try:
        children = cast("list[tuple[int, float]]", json.loads((data_dir / _RECORD).read_text()))
    except (OSError, ValueError):
        return
    for pid, started in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # The id may have been given to another process since.
            if abs(process.create_time() - started) < 1.0:
                yield process

"""A wall clock that can be set for one process, by libfaketime. The monotonic clock goes on as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from tools.paths import ROOT

_SITE: Final = Path(__file__).parent / "faked"


def library() -> Path | None:
    """Debian's libfaketime (package `faketime`), if it is installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def environment(offset_file: Path) -> Mapping[str, str]:
    """What makes a new process take its time from `offset_file`; nothing where the library is missing."""
    found = library()
    if found is None:
        return {}
    set_offset(offset_file, 0)
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{_SITE}{os.pathsep}{ROOT}",
    }


def set_offset(offset_file: Path, seconds: int) -> None:
    """Put the clock `seconds` ahead of (or, negative, behind) the true one; seen within a second."""
    building = offset_file.with_suffix(".new")
    building.write_text(f"{seconds:+d}\n")
    building.rename(offset_file)


def remove_leftovers() -> None:
    """The library's shared memory stays behind when a process is killed: take it away."""
    for file in Path("/dev/shm").glob("*faketime_s*"):
        pid = file.name.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with suppress(OSError):
                file.unlink()

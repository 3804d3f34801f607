"""A wall clock that can be set for one process, by libfaketime. The monotonic clock goes on as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


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
        # Its shared memory would stay behind when a process is killed.
        "FAKETIME_DISABLE_SHM": "1",
    }


def set_offset(offset_file: Path, seconds: int) -> None:
    """Put the clock `seconds` ahead of (or, negative, behind) the true one; seen within a second."""
    building = offset_file.with_suffix(".new")
    building.write_text(f"{seconds:+d}\n")
    building.rename(offset_file)

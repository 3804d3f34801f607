"""Takes the last seconds off an append-only file, as a machine that lost its unsynced tail would.

Needs `aof-timestamp-enabled yes`: the server then writes `#TS:<unix seconds>` before the first command of
every second, outside of any transaction.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A payload is JSON, which has no bare line ends, so that this stands at a command's end alone.
_ANNOTATION: Final = re.compile(rb"(?:\A|\r\n)#TS:(\d+)\r\n")


@dataclass(frozen=True)
class CutBack:
    """What was taken off: from `kept_until` to `had_until` (unix seconds)."""

    bytes_lost: int
    had_until: int
    kept_until: int

    def __str__(self) -> str:
        return f"-{self.had_until - self.kept_until} s, {self.bytes_lost:,} bytes"


def cut_back(directory: Path, seconds: float) -> CutBack:
    """Cut what was written in the last `seconds` of the log, as far as the newest file goes.

    The server must not be running. A rewrite may have made that file begin later.
    """
    newest = _newest(directory)
    if newest.stat().st_size == 0:
        return CutBack(0, 0, 0)
    with newest.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        marks = [(int(mark[1]), _beginning(mark)) for mark in _ANNOTATION.finditer(text)]
        size = len(text)
    if not marks:
        return CutBack(0, 0, 0)
    had_until = marks[-1][0]
    at, offset = next(mark for mark in marks if mark[0] > had_until - seconds)
    os.truncate(newest, offset)
    return CutBack(size - offset, had_until, at - 1)


def _beginning(mark: re.Match[bytes]) -> int:
    # The line end in front is the last command's.
    return mark.start() + (2 if mark[0].startswith(b"\r\n") else 0)


def _newest(directory: Path) -> Path:
    manifest = next(directory.glob("*.manifest")).read_text()
    lines = (line.split() for line in manifest.splitlines())
    files = [(int(words[3]), words[1]) for words in lines if words[5:6] == ["i"]]
    return directory / max(files)[1]

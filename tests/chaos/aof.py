"""Takes the last seconds off an append-only file, as a machine that lost its unsynced tail would.

Needs `aof-timestamp-enabled yes`: the server then writes `#TS:<unix seconds>` before the first command of
every second, outside of any transaction.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# A payload is JSON, which has no bare line ends, so that this stands at a command's end alone.
_ANNOTATION: Final = re.compile(rb"(?:\A|\r\n)#TS:(\d+)\r\n")
_ADDED: Final = re.compile(rb"\*(\d+)\r\n\$4\r\n(?i:XADD)\r\n")


@dataclass(frozen=True)
class Entry:
    """An entry that was added to a stream, as the file has it."""

    stream: str
    position: str
    fields: dict[bytes, bytes]


@dataclass(frozen=True)
class CutBack:
    """What was taken off: from `kept_until` to `had_until` (unix seconds)."""

    bytes_lost: int
    had_until: int
    kept_until: int
    text: bytes = field(default=b"", repr=False)

    @property
    def events(self) -> list[Entry]:
        """The entries of logs that were in it, oldest first."""
        return events_added(self.text)

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
        if not marks:
            return CutBack(0, 0, 0)
        had_until = marks[-1][0]
        at, offset = next(mark for mark in marks if mark[0] > had_until - seconds)
        lost = text[offset:]
    os.truncate(newest, offset)
    return CutBack(len(lost), had_until, at - 1, lost)


def events_added(text: bytes) -> list[Entry]:
    """What the XADDs in a part of the file added to logs. They come with the positions that they were given;
    one that its writer's death has torn was never answered, and is left out."""
    found: list[Entry] = []
    for command in _ADDED.finditer(text):
        words = list(_words(text, command.end(), int(command[1]) - 1))
        if len(words) == int(command[1]) - 1 and words[0].endswith(b":events"):
            stream, position, *flat = words
            found.append(
                Entry(stream.decode(), position.decode(), dict(zip(flat[::2], flat[1::2], strict=True)))
            )
    return found


def _words(text: bytes, at: int, count: int) -> Iterator[bytes]:
    """`count` words of a command, as far as there are any whole ones."""
    for _ in range(count):
        begin = text.find(b"\r\n", at) + 2
        if begin < 2:
            return
        end = begin + int(text[at + 1 : begin - 2])
        if text[end : end + 2] != b"\r\n":
            return
        yield text[begin:end]
        at = end + 2


def _beginning(mark: re.Match[bytes]) -> int:
    # The line end in front is the last command's.
    return mark.start() + (2 if mark[0].startswith(b"\r\n") else 0)


def _newest(directory: Path) -> Path:
    manifest = next(directory.glob("*.manifest")).read_text()
    lines = (line.split() for line in manifest.splitlines())
    files = [(int(words[3]), words[1]) for words in lines if words[5:6] == ["i"]]
    return directory / max(files)[1]

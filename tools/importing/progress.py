"""How far an import is: a bar on a terminal, a line now and then elsewhere. All of it on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from rich import progress as rich_progress
from rich.console import Console

from tools.importing.tally import Tally

LINE_EVERY_SECONDS: Final = 5.0


class Progress(Protocol):
    """What an import tells of itself while it runs."""

    def advance(self, size: int, tally: Tally) -> None:
        """`size` more bytes of the files are done; `tally` so far."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


@contextmanager
def shown_progress(total_bytes: int) -> Generator[Progress]:
    """The progress of an import of `total_bytes`, as fits standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(total_bytes)
        return
    columns = (
        rich_progress.TextColumn("importing"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[done]}"),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with rich_progress.Progress(*columns, console=console) as bar:
        yield _Bar(bar, total_bytes)


class _Bar:
    def __init__(self, bar: rich_progress.Progress, total_bytes: int) -> None:
        self._bar = bar
        self._task = bar.add_task("import", total=total_bytes, done="")

    def advance(self, size: int, tally: Tally) -> None:
        done = f"{tally.conversations:,} conversations, {tally.messages:,} messages"
        self._bar.update(self._task, advance=size, done=done)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False)


class _Lines:
    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._done = 0
        self._last_line = time.monotonic()

    def advance(self, size: int, tally: Tally) -> None:
        self._done += size
        if time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            share = 100 * self._done // max(1, self._total)
            self.say(f"{share} %: {tally.conversations:,} conversations, {tally.messages:,} messages")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

"""How far a replay is: a bar on a terminal, a line now and then elsewhere. All of it on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from rich import progress as rich_progress
from rich.console import Console

from tools.replay.tally import Tally

LINE_EVERY_SECONDS: Final = 5.0


class Progress(Protocol):
    """What a replay tells of itself while it runs."""

    def show(self, tally: Tally) -> None:
        """So much is done."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


@contextmanager
def shown_progress(total: int | None) -> Generator[Progress]:
    """The progress of a replay of at most `total` events, as fits standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(total)
        return
    columns = (
        rich_progress.TextColumn("replaying"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(show_speed=True),
        rich_progress.TextColumn("{task.fields[done]}"),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with rich_progress.Progress(*columns, console=console) as bar:
        yield _Bar(bar, total)


class _Bar:
    def __init__(self, bar: rich_progress.Progress, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("replay", total=total, done="")

    def show(self, tally: Tally) -> None:
        done = f"{tally.read:,} events read, {tally.applied:,} applied"
        self._bar.update(self._task, completed=tally.read, done=done)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False)


class _Lines:
    def __init__(self, total: int | None) -> None:
        self._total = total
        self._last_line = time.monotonic()

    def show(self, tally: Tally) -> None:
        if time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            share = f"{100 * tally.read // max(1, self._total)} %: " if self._total is not None else ""
            self.say(f"{share}{tally.read:,} events read, {tally.applied:,} applied")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

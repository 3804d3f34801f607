"""How far a run is: a bar on a terminal, a line now and then elsewhere. All of it on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from rich import progress as rich_progress
from rich.console import Console

from tools.verify.checkpoint import Phase
from tools.verify.findings import Tally
from tools.verify.run import Watcher

LINE_EVERY_SECONDS: Final = 5.0
_DOING: Final = {
    Phase.LOG: "the log",
    Phase.RECORD: "conversations",
    Phase.REDIS: "what only Redis has",
    Phase.DONE: "done",
}


@contextmanager
def shown_progress(conversations: int) -> Generator[Watcher]:
    """The progress of a run over about so many conversations, as fits standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(conversations)
        return
    columns = (
        rich_progress.TextColumn("verifying {task.fields[doing]}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[done]}"),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with rich_progress.Progress(*columns, console=console) as bar:
        yield _Bar(bar, conversations)


def _done(tally: Tally) -> str:
    return f"{tally.conversations:,} conversations, {tally.drift:,} differences"


class _Bar:
    def __init__(self, bar: rich_progress.Progress, conversations: int) -> None:
        self._bar = bar
        self._task = bar.add_task("verify", total=max(1, conversations), doing=_DOING[Phase.LOG], done="")

    def show(self, phase: Phase, tally: Tally) -> None:
        self._bar.update(self._task, completed=tally.conversations, doing=_DOING[phase], done=_done(tally))


class _Lines:
    def __init__(self, conversations: int) -> None:
        self._total = max(1, conversations)
        self._last_line = time.monotonic()

    def show(self, phase: Phase, tally: Tally) -> None:
        if time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            share = min(100, 100 * tally.conversations // self._total)
            print(f"{_DOING[phase]}, {share} %: {_done(tally)}", file=sys.stderr, flush=True)

"""The replay itself: pages in, batches out, the checkpoint after each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from common.domain.errors import Busy
from tools.errors import CommandError
from tools.replay.checkpoint import Checkpoint
from tools.replay.page import Cursor, Item, Outcome, Page, Source, Target
from tools.replay.progress import Progress
from tools.replay.tally import Tally

PATIENCE_SECONDS: Final = 60.0
"""How long a server may be away before the replay is given up, to be resumed."""
_BATCHES_A_SECOND: Final = 4
"""A replay at a rate writes in steps that are small against it."""


class Replay:
    """One replay; `tally` counts what is done, also by the run that it resumes."""

    def __init__(
        self,
        source: Source,
        target: Target,
        progress: Progress,
        checkpoint: Checkpoint | None,
        *,
        rate: int | None = None,
        stop_on_error: bool = False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._checkpoint = checkpoint
        self._rate = rate
        self._stop_on_error = stop_on_error
        self._patience = patience_seconds
        self.tally = Tally()
        self.resumed = False

    async def run(self) -> None:
        """Go through the source. Raises CommandError where it cannot go on."""
        known = self._checkpoint.load() if self._checkpoint else None
        cursor: Cursor | None = None
        if known is not None:
            cursor, self.tally = known
            self.resumed = True
            self._progress.say(f"going on after {' '.join(cursor)}")
        try:
            await self._from(cursor)
        except BaseException:
            if self._checkpoint:
                self._checkpoint.flush()
            raise
        if self._checkpoint:
            self._checkpoint.remove()

    async def _from(self, cursor: Cursor | None) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        async for page in self._source.pages(cursor):
            self.tally.skipped += page.read - len(page.items)
            self.tally.read += page.read - len(page.items)
            for items in self._batches(page):
                await self._batch(items)
                if self._rate:
                    due = max(due, loop.time() - 1) + len(items) / self._rate
                    await asyncio.sleep(max(0.0, due - loop.time()))
            self._save(page.cursor)

    def _batches(self, page: Page) -> Iterator[Sequence[Item]]:
        size = max(1, self._rate // _BATCHES_A_SECOND) if self._rate else max(1, len(page.items))
        for start in range(0, len(page.items), size):
            yield page.items[start : start + size]

    async def _batch(self, items: Sequence[Item]) -> None:
        outcome = await self._patiently([item for item in items if item.problem is None])
        problems = [(item, item.problem) for item in items if item.problem is not None]
        refused = sorted([*outcome.refused, *problems], key=lambda pair: items.index(pair[0]))
        for item, reason in refused:
            self._progress.say(f"{item.place}: {reason}")
        if refused and self._stop_on_error:
            raise CommandError(f"stopped at {refused[0][0].place}: {refused[0][1]}")
        self.tally.read += len(items)
        self.tally.applied += outcome.applied
        self.tally.known += outcome.known
        self.tally.refused += len(refused)
        self._save(items[-1].cursor)
        self._progress.show(self.tally)

    async def _patiently(self, items: Sequence[Item]) -> Outcome:
        """Apply `items`, again and again while a server is away."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                return await self._target.apply(items)
            except Busy as busy:
                if loop.time() - began > self._patience:
                    raise CommandError(
                        f"given up after {self._patience:.0f} s: {busy}. Run the same command again to go on."
                    ) from busy
                await asyncio.sleep(busy.retry_after)

    def _save(self, cursor: Cursor) -> None:
        if self._checkpoint:
            self._checkpoint.save(cursor, self.tally)

"""How far a replay came, in a file that is there whole or not at all."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from tools.errors import CommandError
from tools.replay.page import Cursor
from tools.replay.tally import Tally
from tools.whole_file import write_whole

WRITE_EVERY_SECONDS: Final = 1.0
"""What is written down is synced; once for each conversation would take longer than the replay."""


class _Content(BaseModel):
    run: str
    cursor: Cursor
    tally: Tally


class Checkpoint:
    """The checkpoint of one replay. `run` tells it from others: what is replayed, whence and where to."""

    def __init__(self, path: Path, run: str, *, write_every_seconds: float = WRITE_EVERY_SECONDS) -> None:
        self.path = path
        self._run = run
        self._every = write_every_seconds
        self._written = -math.inf
        self._at: _Content | None = None
        """What is done and not written down."""

    def load(self) -> tuple[Cursor, Tally] | None:
        """Where to go on and what was done by then; None for a new replay.

        Raises CommandError where the file is another replay's, or no checkpoint.
        """
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise CommandError(
                f"{self.path} cannot be read as a checkpoint; name another with --checkpoint, or begin anew"
                " with --restart"
            ) from error
        if content.run != self._run:
            raise CommandError(
                f"{self.path} is of a replay with other options; name another with --checkpoint, or begin"
                " anew with --restart"
            )
        return content.cursor, content.tally

    def save(self, cursor: Cursor, tally: Tally) -> None:
        """All up to `cursor` is done. On disk within about a second, or with `flush`."""
        self._at = _Content(run=self._run, cursor=cursor, tally=replace(tally))
        if time.monotonic() - self._written >= self._every:
            self.flush()

    def flush(self) -> None:
        """The replay stops here: where it is, is on disk when this returns."""
        if self._at is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, self._at.model_dump_json() + "\n")
        except OSError as error:
            raise CommandError(f"cannot write the checkpoint {self.path}: {error.strerror}") from error
        self._at, self._written = None, time.monotonic()

    def remove(self) -> None:
        """The replay is over, or begins anew."""
        self._at = None
        self.path.unlink(missing_ok=True)

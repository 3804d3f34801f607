"""How far a replay came, in a file that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from tools.errors import CommandError
from tools.replay.page import Cursor
from tools.replay.tally import Tally
from tools.whole_file import write_whole


class _Content(BaseModel):
    run: str
    cursor: Cursor
    tally: Tally


class Checkpoint:
    """The checkpoint of one replay. `run` tells it from others: what is replayed, whence and where to."""

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self._run = run

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
        """All up to `cursor` is done. On disk when this returns."""
        content = _Content(run=self._run, cursor=cursor, tally=tally)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, content.model_dump_json() + "\n")
        except OSError as error:
            raise CommandError(f"cannot write the checkpoint {self.path}: {error.strerror}") from error

    def remove(self) -> None:
        """The replay is over, or begins anew."""
        self.path.unlink(missing_ok=True)

"""Where a run is, written down so that a killed one goes on where it was."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from common.domain.ids import ConversationId, Position, UserId
from common.postgres.audit import NIL
from tools.errors import CommandError
from tools.verify.findings import Tally
from tools.verify.scope import Scope
from tools.whole_file import write_whole

WRITE_EVERY_SECONDS = 1.0


class Phase(StrEnum):
    """What a run does, in this order."""

    LOG = "log"
    RECORD = "record"
    REDIS = "redis"
    DONE = "done"


class Progressed(BaseModel):
    """What is behind a run: everything before this place has been verified."""

    scope: Scope
    repair: bool
    phase: Phase = Phase.LOG
    partition: int | None = None
    position: Position = Position("0-0")
    user: UserId = UserId("")
    conversation: ConversationId = NIL
    cursor: str = "0"
    server_run: str = ""
    """The run of the Redis server that `cursor` is good for."""
    tally: Tally = Tally()


class Checkpoint:
    """Keeps a run's place in a file, where one is named. The file is whole or the one before, always."""

    def __init__(self, path: Path | None, scope: Scope, *, repair: bool) -> None:
        self._path = path
        self._written = 0.0
        self.at = Progressed(scope=scope, repair=repair, tally=Tally())
        self.resumed = False
        if path is not None and path.exists():
            self._read(path)

    def save(self, *, now: bool = False) -> None:
        """Write the place down, at most once a second unless `now`."""
        if self._path is None or not (now or time.monotonic() - self._written >= WRITE_EVERY_SECONDS):
            return
        try:
            write_whole(self._path, self.at.model_dump_json())
        except OSError as error:
            raise CommandError(f"cannot write the checkpoint {self._path}: {error.strerror}") from error
        self._written = time.monotonic()

    def remove(self) -> None:
        """The run is over: the next one begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        try:
            at = Progressed.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise CommandError(f"{path} is no checkpoint of `verify`: name another file") from error
        if (at.scope, at.repair) != (self.at.scope, self.at.repair):
            raise CommandError(
                f"{path} is of a run with other options: give the same ones, or remove it to begin anew"
            )
        self.at, self.resumed = at, True

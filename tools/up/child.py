"""One process of the instance: started, watched, restarted when it dies, stopped when asked."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.runtime import PARENT_PIPE_VARIABLE
from tools.embedded.server import size_of_log
from tools.errors import CommandError

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_STEADY_SECONDS = 20.0
_HURRIED_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class ChildSpec:
    """How one process is started and stopped."""

    name: str
    command: Callable[[], Sequence[str]]
    """Called before every start, because an embedded server is prepared anew each time."""
    environment: Mapping[str, str]
    directory: Path
    log_file: Path
    grace_seconds: float
    guards_server: bool = False
    """Whether this is the guard of an embedded server, which stops it in steps of its own."""
    longest_pause_seconds: float = _LONGEST_PAUSE_SECONDS
    """How long the pause before it is started again may become, when it dies again and again."""


class Child:
    """A running ChildSpec. `report` is told in plain words when it ends by itself."""

    def __init__(
        self, spec: ChildSpec, parent_pipe: int, report: Callable[[str], None], on_start: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.ended_by_itself = asyncio.Event()
        self.log_start = size_of_log(spec.log_file)
        self._parent_pipe = parent_pipe
        self._report = report
        self._on_start = on_start
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while it is not running."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and keep it running until `stop`."""
        process = await self._spawn()
        self._watch = asyncio.create_task(self._keep_running(process), name=f"watch {self.spec.name}")

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask the process to stop; make it when its grace, or with `hurry` the caller's patience, is over."""
        self._hurry = hurry
        self._stopping.set()
        if self._watch is not None:
            await self._watch

    async def _keep_running(self, process: Process) -> None:
        pause = _FIRST_PAUSE_SECONDS
        started = time.monotonic()
        while True:
            await _first_of(process.wait(), self._stopping.wait())
            if self._stopping.is_set():
                await self._end(process)
                return
            self._remove_stragglers(process)
            how = _how(process.returncode or 0)
            self._report(f"{self.spec.name} {how}; it is started again (log: {self.spec.log_file})")
            self.ended_by_itself.set()
            if time.monotonic() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            while process.returncode is not None:
                await _first_of(self._stopping.wait(), seconds=pause)
                if self._stopping.is_set():
                    return
                pause = min(pause * 2, self.spec.longest_pause_seconds)
                try:
                    process = await self._spawn()
                except (OSError, CommandError) as error:
                    self._report(f"{self.spec.name} could not be started: {error}")
            started = time.monotonic()

    async def _spawn(self) -> Process:
        with self.spec.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command(),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.spec.directory,
                env={**self.spec.environment, PARENT_PIPE_VARIABLE: str(self._parent_pipe)},
                pass_fds=[self._parent_pipe],
                # A group of its own: Ctrl-C in the terminal reaches only us, and we stop them in order.
                start_new_session=True,
            )
        self._on_start()
        return self._process

    async def _end(self, process: Process) -> None:
        for harsher in range(4):
            with contextlib.suppress(ProcessLookupError):
                if harsher == 0 or self.spec.guards_server:
                    process.send_signal(signal.SIGTERM)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
            await _first_of(process.wait(), self._hurry.wait(), seconds=self.spec.grace_seconds)
            if self._hurry.is_set():
                # A second wish to stop shortens the grace, it does not skip it.
                await _first_of(process.wait(), seconds=_HURRIED_GRACE_SECONDS)
            if process.returncode is not None:
                break
        else:
            process.kill()
            await process.wait()
        self._remove_stragglers(process)

    def _remove_stragglers(self, process: Process) -> None:
        # Workers of a gateway that was killed. What a killed guard leaves, the next guard stops gently.
        if not self.spec.guards_server:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def _first_of(*waits: Coroutine[Any, Any, object], seconds: float | None = None) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()

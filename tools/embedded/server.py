"""An embedded server that runs behind its guard."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.runtime import PARENT_PIPE_VARIABLE
from tools.errors import CommandError
from tools.paths import ROOT


@dataclass(frozen=True)
class ServerSpec:
    """What it takes to start one embedded server, and to know that it answers."""

    name: str
    command: Sequence[str]
    stop_signals: Sequence[str]
    """Ever harsher, e.g. ("INT", "QUIT", "KILL")."""
    directory: Path
    pid_file: Path
    dsn: str
    answers: Callable[[], Awaitable[bool]]

    def guarded_command(self) -> list[str]:
        """The command line of the guard with the server behind it."""
        options = ["--pid-file", str(self.pid_file), "--stop", ",".join(self.stop_signals)]
        return [sys.executable, "-m", "tools.embedded.guard", *options, "--", *self.command]


def guard_environment() -> dict[str, str]:
    """A guard's environment: nothing of ours reaches a server but what it needs to run at all."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


class GuardedServer:
    """One running server. It stops when `stop` is called or when this process ends in any way."""

    def __init__(self, spec: ServerSpec, log_file: Path) -> None:
        self.spec = spec
        self.log_file = log_file
        # Nobody writes to the pipe: its end tells the guard that we are gone.
        read_end, self._write_end = os.pipe()
        with log_file.open("ab") as log:
            self.guard = subprocess.Popen(
                spec.guarded_command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.directory,
                env={**guard_environment(), PARENT_PIPE_VARIABLE: str(read_end)},
                pass_fds=[read_end],
                start_new_session=True,
            )
        os.close(read_end)

    async def wait_ready(self, timeout_seconds: float = 30.0) -> None:
        """Wait until the server answers. Raises CommandError, with the end of its log, if it does not."""
        await wait_until_answers(
            self.spec, self.log_file, lambda: self.guard.poll() is None, timeout_seconds=timeout_seconds
        )

    def stop(self, timeout_seconds: float = 60.0) -> None:
        """Stop the server and wait until it is gone."""
        if self.guard.poll() is None:
            self.guard.send_signal(signal.SIGTERM)
        try:
            self.guard.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            self.guard.wait()
        os.close(self._write_end)


async def wait_until_answers(
    spec: ServerSpec, log_file: Path, alive: Callable[[], bool], *, timeout_seconds: float, log_start: int = 0
) -> None:
    """Wait until the server of `spec` answers. Raises CommandError when it ends or takes too long.

    `log_start` is where this run begins in its log.
    """
    deadline = time.monotonic() + timeout_seconds
    while not await spec.answers():
        if not alive():
            raise CommandError(f"{spec.name} did not start:\n{end_of_log(log_file, log_start)}")
        if time.monotonic() > deadline:
            raise CommandError(
                f"{spec.name} gave no answer in {timeout_seconds:g} s:\n{end_of_log(log_file, log_start)}"
            )
        await asyncio.sleep(0.02)


def size_of_log(log_file: Path) -> int:
    """Where the next run begins in a log."""
    return log_file.stat().st_size if log_file.exists() else 0


def end_of_log(log_file: Path, start: int = 0, lines: int = 15) -> str:
    """The last lines of a log, for an error message; of a run that begins at `start`, nothing earlier."""
    try:
        with log_file.open("rb") as file:
            size = log_file.stat().st_size
            # A log that has been cut since holds only what is newer.
            file.seek(max(start if start <= size else 0, size - 8192))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens.

    It lies below the range from which the system takes ports for outgoing connections, so that none of
    those takes it between this call and the server's start.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise CommandError(f"no free port on {host}")

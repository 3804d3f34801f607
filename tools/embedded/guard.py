"""The process between us and an embedded server: the server never outlives whoever asked for it.

`python -m tools.embedded.guard --pid-file F --stop INT,QUIT,KILL [--user U] -- program arguments…` starts
the program, passes its exit status on, and stops it when asked to (SIGTERM, SIGINT, SIGHUP) or when the
pipe from its parent ends, because a `kill -9` runs no exit hook. Each further request, and each time the
grace runs out, takes the next, harsher signal of the list.
"""

import argparse
import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import psutil

from common.runtime import STOP_SIGNALS, exit_with_parent
from tools.embedded.account import Account, server_account

_PR_SET_PDEATHSIG = 1
_ORPHAN_GRACE_SECONDS = 120.0


def main(arguments: Sequence[str]) -> int:
    """Run the guard; the result is the server's exit status."""
    parser = argparse.ArgumentParser(prog="guard")
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--stop", default="TERM,KILL")
    parser.add_argument("--grace", type=float, default=20.0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    signals = [signal.Signals[f"SIG{name}"] for name in options.stop.split(",")]
    stop_leftover(options.pid_file, signals)
    # Signals that arrive from here on wait until there is a server to pass them to.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    server = _start(options.command, signals[0], server_account())
    options.pid_file.write_text(f"{server.pid} {psutil.Process(server.pid).create_time()}\n")
    stopper = _Stopper(server, signals, options.grace)
    for number in STOP_SIGNALS:
        signal.signal(number, stopper.on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    exit_with_parent(grace_seconds=_ORPHAN_GRACE_SECONDS)
    status = server.wait()
    options.pid_file.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


def stop_leftover(pid_file: Path, signals: Sequence[signal.Signals], grace_seconds: float = 20.0) -> None:
    """Stop the server that an earlier guard left behind, if there is one.

    A process counts as ours only if it started at the recorded time: its id may have been given anew.
    """
    try:
        pid, started = pid_file.read_text().split()
        leftover = psutil.Process(int(pid))
        if abs(leftover.create_time() - float(started)) > 1.0:
            return
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    for number in signals:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            leftover.send_signal(number)
            leftover.wait(grace_seconds)
            return


class _Stopper:
    """Sends the next, harsher signal on every request and whenever the grace runs out."""

    def __init__(self, server: subprocess.Popen[bytes], signals: Sequence[signal.Signals], grace: float):
        self._server = server
        self._signals = list(signals)
        self._grace = grace

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self._escalate()

    def _escalate(self) -> None:
        if self._signals:
            self._server.send_signal(self._signals.pop(0))
            timer = threading.Timer(self._grace, self._escalate)
            timer.daemon = True
            timer.start()


def _start(
    command: Sequence[str], orphan_signal: signal.Signals, account: Account | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        umask=0o077,
        preexec_fn=_in_child(orphan_signal),  # noqa: PLW1509 - the guard has only this thread as yet
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _in_child(orphan_signal: signal.Signals) -> Callable[[], None]:
    # Should the guard itself be killed: on Linux the kernel then stops the server. Elsewhere the next start
    # finds it by its pid file.
    libc = ctypes.CDLL(None)
    on_linux = platform.system() == "Linux"

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        if on_linux:
            libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)

    return prepare


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))

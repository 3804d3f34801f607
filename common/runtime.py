"""The life of a process: event loop, signals that ask it to stop, and a parent that may die first."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from multiprocessing.connection import wait

import uvloop

PARENT_PIPE_VARIABLE = "TURNLOG_PARENT_PIPE"
"""Names the inherited read end of a pipe whose write end only the supervisor holds."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(stop)` on uvloop until it returns.

    `stop` is set by SIGINT, SIGTERM, SIGHUP, or the death of the supervisor; `main` then finishes what it
    has in hand and returns. A second signal cancels it.
    """
    exit_with_parent()
    uvloop.run(_until_done(main))


async def _until_done(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(stop))
    interrupted = False

    def on_signal() -> None:
        nonlocal interrupted
        if stop.is_set():
            interrupted = True
            task.cancel()
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def exit_with_parent(*, grace_seconds: float = 10.0) -> None:
    """Make this process stop soon after its parent died, however the parent died. Call it once, early.

    It gets SIGTERM, as if somebody had asked it to stop, and SIGKILL if it is still there after the grace.
    Works for a process started by the supervisor (a pipe named by TURNLOG_PARENT_PIPE reaches its end)
    and for a child of multiprocessing, such as a Granian worker. Without either it does nothing, so that
    a service started by hand or by systemd or in a container lives on its own.
    """
    watched: list[int] = []
    parent = multiprocessing.parent_process()
    if parent is not None:
        watched.append(parent.sentinel)
    pipe = os.environ.get(PARENT_PIPE_VARIABLE)
    # A worker of multiprocessing inherits the variable, but not the pipe.
    if pipe is not None and parent is None:
        watched.append(int(pipe))
    if watched:
        arguments = (watched, grace_seconds)
        threading.Thread(target=_stop_when_ready, args=arguments, name="parent-watch", daemon=True).start()


def _stop_when_ready(watched: list[int], grace_seconds: float) -> None:
    wait(watched)
    os.kill(os.getpid(), signal.SIGTERM)
    # A process that does not stop when asked must not stay behind as an orphan.
    threading.Event().wait(grace_seconds)
    os.kill(os.getpid(), signal.SIGKILL)

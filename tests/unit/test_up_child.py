"""One watched process: restarted when it dies, and stopped whether it wants to or not."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until
from tools.errors import CommandError
from tools.up.child import Child, ChildSpec

OBEDIENT = "import time; print('started', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"

Start = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncGenerator[Start]:
    """Starts a child that runs some Python; what it reports is in its `reports`."""
    read_end, write_end = os.pipe()
    children: list[Child] = []
    hurry = asyncio.Event()
    hurry.set()

    async def start(*programs: str, grace_seconds: float = 60.0, reports: list[str] | None = None) -> Child:
        runs = iter(programs)

        def command() -> list[str]:
            program = next(runs, programs[-1])
            if program == "unpreparable":
                raise CommandError("cannot be prepared")
            return [sys.executable, "-c", program]

        spec = ChildSpec("worker", command, os.environ, tmp_path, tmp_path / "worker.log", grace_seconds)
        child = Child(spec, read_end, (reports if reports is not None else []).append, lambda: None)
        children.append(child)
        await child.start()
        return child

    yield start
    for child in children:
        await child.stop(hurry)
    os.close(read_end)
    os.close(write_end)


async def test_it_is_started_again_and_somebody_is_told(start: Start, tmp_path: Path) -> None:
    """Even when a start in between fails; what the process printed is in its log."""
    reports: list[str] = []
    child = await start("raise SystemExit(3)", "unpreparable", OBEDIENT, reports=reports)
    await wait_until(lambda: "started" in (tmp_path / "worker.log").read_text())
    assert child.pid is not None
    assert reports == [
        f"worker ended with status 3; it is started again (log: {tmp_path / 'worker.log'})",
        "worker could not be started: cannot be prepared",
    ]


async def test_after_its_grace_it_is_killed(start: Start, tmp_path: Path) -> None:
    """A process that does not stop when asked cannot hold up the end."""
    child = await start(STUBBORN, grace_seconds=0.2)
    await wait_until(lambda: "started" in (tmp_path / "worker.log").read_text())
    pid = child.pid
    await asyncio.wait_for(child.stop(asyncio.Event()), 10)
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_a_hurry_shortens_the_grace(start: Start, tmp_path: Path) -> None:
    """The second Ctrl-C."""
    child = await start(STUBBORN)
    await wait_until(lambda: "started" in (tmp_path / "worker.log").read_text())
    hurry = asyncio.Event()
    stopping = asyncio.create_task(child.stop(hurry))
    await asyncio.sleep(0)
    assert child.pid is not None
    hurry.set()
    await asyncio.wait_for(stopping, 10)
    assert child.pid is None


async def test_it_can_be_stopped_between_two_runs(start: Start) -> None:
    """While it waits to be started again there is nothing to stop, and it stays stopped."""
    reports: list[str] = []
    child = await start("pass", reports=reports)
    await wait_until(lambda: bool(reports))
    await asyncio.wait_for(child.stop(asyncio.Event()), 10)
    assert child.pid is None

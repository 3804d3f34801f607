"""`turnlog up` as a real process, for tests of the whole system."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from common.runtime import PARENT_PIPE_VARIABLE
from common.settings import Settings
from tests.waiting import wait_until
from tools.instance import Instance, load_instance, running_instance
from tools.paths import ROOT


@dataclass(frozen=True)
class RunningUp:
    """An instance that is ready."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    instance: Instance
    output: Path
    messages: Path

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self.instance.url

    @property
    def settings(self) -> Settings:
        """Settings to reach the instance's servers."""
        return load_instance(self.data_dir)

    def descendants(self) -> list[psutil.Process]:
        """Every process of the instance but `up` itself."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, part_of_command: str) -> psutil.Process:
        """The one descendant whose command line contains the text, guards left aside."""
        found = [child for child in self.descendants() if part_of_command in command_of(child)]
        found = [child for child in found if "tools.embedded.guard" not in command_of(child)]
        # The workers of a process have its command line too: the first one is the process itself.
        return min(found, key=lambda child: child.create_time())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask `up` to stop and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@asynccontextmanager
async def running_up(
    data_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[RunningUp]:
    """Run `turnlog up` on a free port until the block ends."""
    directory = data_dir.parent
    output, messages = directory / "up.out", directory / "up.err"
    # Its end stops the instance, should this process be killed.
    read_end, write_end = os.pipe()
    with output.open("wb") as out, messages.open("wb") as err:
        process = subprocess.Popen(
            turnlog("up", "--data-dir", str(data_dir), "--port", "0", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                PARENT_PIPE_VARIABLE: str(read_end),
                **(environment or {}),
            },
            pass_fds=[read_end],
            start_new_session=True,
            # As in the background of a script: SIGINT has to work there, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        )
    os.close(read_end)
    try:
        await wait_until(
            lambda: b"ready " in output.read_bytes() or process.poll() is not None,
            timeout_seconds=90,
            message=messages.read_text,
        )
        instance = running_instance(data_dir)
        assert instance is not None, messages.read_text()
        yield RunningUp(process, data_dir, instance, output, messages)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.to_thread(process.wait, 60)
        os.close(write_end)


async def wait_gone(processes: Iterable[psutil.Process], timeout_seconds: float = 20.0) -> None:
    """Wait until none of these very processes is alive."""
    waited = list(processes)

    def alive() -> list[str]:
        return [command_of(process) for process in waited if process.is_running() and not _is_zombie(process)]

    await wait_until(
        lambda: not alive(), timeout_seconds=timeout_seconds, message=lambda: f"still alive: {alive()}"
    )


def turnlog(*arguments: str) -> list[str]:
    """The command line that ./turnlog ends in."""
    return [sys.executable, "-P", "-m", "tools", *arguments]


def command_of(process: psutil.Process) -> str:
    """The command line in one piece; empty when the process is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

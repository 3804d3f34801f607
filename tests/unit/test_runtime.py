"""The life of a process: asked to stop, hurried, orphaned. Each case is a real process."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from common.runtime import PARENT_PIPE_VARIABLE
from tools.paths import ROOT

SERVICE = textwrap.dedent(
    """
    import asyncio
    from common.runtime import run

    async def main(stop):
        print("started", flush=True)
        await stop.wait()
        print("finishing", flush=True)
        {finish}
        print("finished", flush=True)

    run(main)
    """
)


def start(finish: str = "pass", *, parent_pipe: int | None = None) -> subprocess.Popen[str]:
    """Start a service that does `finish` after it was asked to stop."""
    pipe = {} if parent_pipe is None else {PARENT_PIPE_VARIABLE: str(parent_pipe)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE.format(finish=finish)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **pipe},
        pass_fds=[] if parent_pipe is None else [parent_pipe],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_the_service_finish(number: signal.Signals) -> None:
    """It finishes what it has in hand and ends with success."""
    with start() as process:
        process.send_signal(number)
        assert process.communicate(timeout=10)[0] == "finishing\nfinished\n"
    assert process.returncode == 0


def test_a_second_signal_does_not_wait() -> None:
    """Whoever asks twice means now."""
    with start(finish="await asyncio.sleep(60)") as process:
        assert process.stdout is not None
        process.terminate()
        assert process.stdout.readline() == "finishing\n"
        process.terminate()
        assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 0


def test_the_end_of_the_parent_is_a_wish_to_stop() -> None:
    """The pipe that only the parent holds reaches its end, however the parent died."""
    read_end, write_end = os.pipe()
    with start(parent_pipe=read_end) as process:
        os.close(read_end)
        os.close(write_end)
        assert process.communicate(timeout=10)[0] == "finishing\nfinished\n"
    assert process.returncode == 0


def test_without_a_supervisor_nothing_is_watched() -> None:
    """A service started by hand, by systemd or in a container lives on its own."""
    launcher = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SERVICE.format(finish='pass')!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        assert parent.wait(10) == 0
        os.killpg(parent.pid, 0)  # the child is still there
        os.killpg(parent.pid, signal.SIGTERM)
        assert parent.stdout.read() == "finishing\nfinished\n"

"""The embedded servers: nobody gets in without the password, and none outlives whoever asked for it."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from common.runtime import PARENT_PIPE_VARIABLE
from tests.servers import TestServers
from tests.waiting import wait_until
from tools.embedded.guard import stop_leftover
from tools.embedded.home import embedded_home, remove_home
from tools.paths import ROOT

STARTER = """
import asyncio, sys
from pathlib import Path
from tools.embedded.guard import stop_leftover
from tools.embedded.home import embedded_home
from tools.embedded.server import GuardedServer, free_port
from tools.embedded.valkey import valkey_server
place = Path(sys.argv[1])
server = GuardedServer(valkey_server(embedded_home(place), port=free_port(), password="x"), place / "log")
asyncio.run(server.wait_ready())
print(server.guard.pid, flush=True)
sys.stdin.read()
"""


async def test_every_connection_to_postgresql_needs_the_password(servers: TestServers) -> None:
    """Over TCP from this machine alone, and there is no socket that would trust a local user."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(servers.admin_dsn, password="a guess")
    connection = await asyncpg.connect(servers.admin_dsn)
    try:
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    finally:
        await connection.close()
    assert {row["auth_method"] for row in methods} == {"scram-sha-256"}


class Started:
    """A process that started a Valkey, the guard between the two, and the server."""

    def __init__(self, place: Path) -> None:
        self.starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != PARENT_PIPE_VARIABLE},
        )
        assert self.starter.stdout is not None
        self.guard = psutil.Process(int(self.starter.stdout.readline()))
        [self.server] = self.guard.children()

    def end(self) -> None:
        """Leave nothing behind, whatever a test found."""
        for process in (self.server, self.guard):
            if process.is_running():
                process.kill()
        self.starter.kill()
        self.starter.communicate()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.end()
    remove_home(embedded_home(tmp_path))


async def test_a_server_ends_with_the_process_that_asked_for_it(started: Started) -> None:
    """Killed, that process runs no exit hook; the guard sees the end of a pipe."""
    started.starter.kill()
    await wait_until(lambda: not started.server.is_running())
    await wait_until(lambda: not started.guard.is_running())


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere the next start stops it")
async def test_a_server_ends_with_its_guard(started: Started) -> None:
    """A guard that is killed can stop nothing; the kernel does."""
    started.guard.kill()
    await wait_until(lambda: not started.server.is_running())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_server_ends_when_its_guard_is_asked_to_stop(
    started: Started, number: signal.Signals
) -> None:
    """By whichever signal; it saves its data first, because it is asked, too."""
    started.guard.send_signal(number)
    await wait_until(lambda: not started.server.is_running())


def left_behind(script: str) -> psutil.Process:
    """A process that is nobody's child any more."""
    shell = ["sh", "-c", f"({script}) </dev/null >/dev/null 2>&1 & echo $!"]
    said = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    return psutil.Process(int(said))


@pytest.mark.parametrize(("seconds_ago", "spared"), [(0.0, False), (3600.0, True)])
async def test_what_an_earlier_guard_left_is_stopped_before_a_server_starts(
    tmp_path: Path, seconds_ago: float, spared: bool
) -> None:
    """Two servers on the same data would ruin them. A stranger who has its number now is left alone."""
    leftover = left_behind("exec sleep 60")
    pid_file = tmp_path / "server.pid"
    pid_file.write_text(f"{leftover.pid} {leftover.create_time() - seconds_ago}\n")
    try:
        command = [sys.executable, "-m", "tools.embedded.guard", "--pid-file", str(pid_file), "--", "true"]
        guard = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False)
        assert guard.returncode == 0
        assert leftover.is_running() is spared
    finally:
        if leftover.is_running():
            leftover.kill()


async def test_a_leftover_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    """The next, harsher signal follows when the grace is over."""
    leftover = left_behind(f"trap '' TERM; touch {tmp_path}/ready; exec sleep 60")
    await wait_until((tmp_path / "ready").exists)
    pid_file = tmp_path / "server.pid"
    pid_file.write_text(f"{leftover.pid} {leftover.create_time()}\n")
    signals = [signal.SIGTERM, signal.SIGKILL]
    await asyncio.to_thread(stop_leftover, pid_file, signals, 0.2)
    await wait_until(lambda: not leftover.is_running())

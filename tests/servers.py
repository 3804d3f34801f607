"""The real servers that a test session runs against: one PostgreSQL and one Valkey on free ports."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from common.settings import load_settings
from tools.embedded.home import embedded_home, remove_home
from tools.embedded.postgres import postgres_server
from tools.embedded.server import GuardedServer, ServerSpec, free_port
from tools.embedded.valkey import valkey_server

DIRECTORY_PREFIX = "turnlog-test-"
T = TypeVar("T")


@dataclass(frozen=True)
class TestServers:
    """Where the session's servers are, and how to stop and start them."""

    __test__ = False

    directory: Path
    postgres: ServerSpec
    valkey: ServerSpec

    @property
    def admin_dsn(self) -> str:
        """PostgreSQL's maintenance database."""
        return self.postgres.dsn.rpartition("/")[0] + "/postgres"


@contextmanager
def running_servers() -> Generator[TestServers]:
    """Start both servers; stop them and remove their data at the end, or when this process is killed."""
    remove_what_killed_sessions_left()
    directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
    home = embedded_home(directory, load_settings(env_file=None).embedded)
    # A test kills processes, never the machine: fsync would only cost time.
    quick = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    postgres = postgres_server(home, port=free_port(), password=secrets.token_hex(16), options=quick)
    valkey = valkey_server(home, port=free_port(), password=secrets.token_hex(16))
    running: list[GuardedServer] = []
    try:
        for spec in (postgres, valkey):
            server = GuardedServer(spec, directory / f"{spec.name}.log")
            running.append(server)
            run_apart(server.wait_ready())
        yield TestServers(directory, postgres, valkey)
    finally:
        for server in reversed(running):
            server.stop()
        remove_home(home)
        shutil.rmtree(directory, ignore_errors=True)


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, whether or not a loop runs in this thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(coroutine)).result()


def remove_what_killed_sessions_left() -> None:
    """Remove the data of test sessions that were killed before they could."""
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}*"):
        pid = directory.name.removeprefix(DIRECTORY_PREFIX).partition("-")[0]
        with suppress(FileNotFoundError):  # another session may be tidying up, too
            ours = directory.stat().st_uid == os.geteuid()
            if ours and pid.isdigit() and not psutil.pid_exists(int(pid)):
                for record in directory.rglob("embedded-home"):
                    remove_home(embedded_home(record.parent))
                shutil.rmtree(directory, ignore_errors=True)

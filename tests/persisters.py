"""A persister as it runs in service, in this process or in its own, and servers to restart under it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.domain.ids import UserId
from common.settings import PersisterSettings, Settings
from services.persister.__main__ import main
from tests.redis_parts import ALICE, RedisParts
from tests.servers import run_apart
from tests.waiting import wait_until
from tools.embedded.home import embedded_home, remove_home
from tools.embedded.server import GuardedServer, ServerSpec

QUICK = PersisterSettings(block_ms=20)


@asynccontextmanager
async def running_persister(settings: Settings) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a persister until the block ends; it must then stop by itself, having finished its work."""
    stop = asyncio.Event()
    task = asyncio.create_task(main(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task


def persister_process(settings: Settings, **variables: str) -> subprocess.Popen[bytes]:
    """Start `python -m services.persister` against the same servers."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.persister"],
        env={
            **os.environ,
            "REDIS_URL": settings.redis.dsn,
            "REDIS_CLUSTER": str(settings.redis.cluster),
            "DATABASE_URL": settings.postgres.dsn,
            "PERSISTER_BLOCK_MS": "20",
            **variables,
        },
        stderr=subprocess.PIPE,
    )


async def wait_settled(redis: RedisParts, user: UserId = ALICE) -> None:
    """Wait until all that is on `user`'s partition of the log is committed or parked."""
    partition = redis.keys.partition(user)

    async def settled() -> bool:
        lag = await redis.group.lag(partition)
        return lag.waiting == 0 and lag.pending == 0

    await wait_until(settled, timeout_seconds=30)


async def dead_letters(redis: RedisParts, user: UserId = ALICE) -> list[dict[bytes, bytes]]:
    """The parked entries of `user`'s partition."""
    entries: list[Any] = await redis.client.call(
        "XRANGE", redis.keys.dead(redis.keys.partition(user)), "-", "+"
    )
    return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]


@dataclass
class RestartableServer:
    """An embedded server of our own, which may be stopped and started."""

    spec: ServerSpec
    log_file: Path
    running: GuardedServer | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.running = GuardedServer(self.spec, self.log_file)
        run_apart(self.running.wait_ready())

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.running is not None:
            self.running.stop()
            self.running = None


@contextmanager
def restartable(make: Any, **options: Any) -> Generator[RestartableServer]:
    """A server of our own; `make` is `postgres_server` or `valkey_server`. Removed after the block."""
    with tempfile.TemporaryDirectory(prefix="turnlog-restart-") as directory:
        home = embedded_home(Path(directory))
        server = RestartableServer(make(home, **options), Path(directory) / "server.log")
        server.start()
        try:
            yield server
        finally:
            server.stop()
            remove_home(home)

"""`python -m services.gateway` as a real process, for tests of what only a process shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from common.settings import Settings
from tests.instances import command_of
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.paths import ROOT

COMMAND = [sys.executable, "-m", "services.gateway"]


@dataclass(frozen=True)
class GatewayProcess:
    """`python -m services.gateway`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in command_of(child)]

    async def ready(self, path: str = "/readyz") -> None:
        """Wait until it answers that it is ready; at `/healthz`, that it is there."""
        async with httpx.AsyncClient() as client:

            async def ready() -> bool:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    return (await client.get(f"{self.url}{path}")).status_code == 200
                except httpx.TransportError:
                    return False

            await wait_until(ready, timeout_seconds=30, message=self.log.read_text)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment in which a gateway has these settings."""
    secret = settings.identity.jwt_secret
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": settings.redis.dsn,
        "DATABASE_URL": settings.postgres.dsn,
        "JWT_SECRET": secret.get_secret_value() if secret else "",
        **more,
    }


@contextmanager
def gateway_process(settings: Settings, directory: Path, **more: str) -> Generator[GatewayProcess]:
    """Start a gateway on a free port; at the end nothing of it is left."""
    port, log = free_port(), directory / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=directory,
            env=environment(settings, GATEWAY_PORT=str(port), **more),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield GatewayProcess(process, f"http://127.0.0.1:{port}", log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

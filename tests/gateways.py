"""A gateway on real servers: the whole of it behind Granian, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from common.settings import Settings
from services.gateway.worker import open_gateway
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.token import mint_token


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that listens."""

    url: str
    settings: Settings

    def client(self, user: str | None = None) -> httpx.AsyncClient:
        """A client of the gateway: `user`'s, by a token, or without one the test user's."""
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    def token(self, user: str) -> str:
        """A token that proves `user` to this gateway."""
        return mint_token(self.settings.identity, user)


@asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncGenerator[RunningGateway]:
    """Serve `settings` on a free port until the block ends."""
    port = free_port()
    async with open_gateway(settings) as app:
        server = Server(
            app,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        serving = asyncio.create_task(server.serve())
        try:
            await wait_until(lambda: _listens(port), message="the gateway listens")
            yield RunningGateway(f"http://127.0.0.1:{port}", settings)
        finally:
            server.stop()
            await serving


async def _listens(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


def problem_fields(reply: httpx.Response) -> list[str]:
    """The fields that an error reply names, after a look at its shape."""
    assert reply.headers["Content-Type"] == "application/problem+json", reply.text
    problem: dict[str, Any] = reply.json()
    assert problem["status"] == reply.status_code
    assert problem["type"].startswith("urn:turnlog:problem:")
    assert problem["title"]
    return [error["field"] for error in problem.get("errors", [])]

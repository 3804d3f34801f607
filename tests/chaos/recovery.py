"""Whether the system is well again: every gateway takes an append and shows it, nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Final

import httpx

from tests.chaos.instance import Instance
from tests.chaos.settled import settled
from tools.token import mint_token

PROBE_USER: Final = "probe"
_CALL_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05
TOKEN_LIFETIME_SECONDS: Final = 4 * 86_400


def token_for(instance: Instance, user: str) -> str:
    """A token that is valid now and some days before and after, whatever a clock is set to."""
    identity = instance.settings.identity
    return mint_token(
        identity, user, lifetime_seconds=TOKEN_LIFETIME_SECONDS, now=time.time() - TOKEN_LIFETIME_SECONDS / 2
    )


class Recovery:
    """Asks the gateways directly, as a user of its own whom no check of the history looks at."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._numbers = count()

    async def wait(self, limit_seconds: float) -> bool:
        """Return as soon as the system is well; False where it is not within the limit."""
        deadline = asyncio.get_running_loop().time() + limit_seconds
        try:
            async with asyncio.timeout_at(deadline), asyncio.TaskGroup() as tasks:
                for url in self._instance.direct_urls:
                    tasks.create_task(self._until_it_serves(url))
        except TimeoutError:
            return False
        remaining = deadline - asyncio.get_running_loop().time()
        return await settled(self._instance, timeout_seconds=remaining)

    async def _until_it_serves(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {token_for(self._instance, PROBE_USER)}"}
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=_CALL_SECONDS, trust_env=False
        ) as client:
            while not await self._serves(client):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _serves(self, client: httpx.AsyncClient) -> bool:
        text = f"probe {next(self._numbers)}"
        try:
            made = await client.post("/api/conversations/messages", json={"role": "user", "content": text})
            if made.status_code != 201:
                return False
            read = await client.get(f"/api/conversations/{made.json()['conversation_id']}/messages")
        except httpx.HTTPError:
            return False
        return read.status_code == 200 and [m["content"] for m in read.json()["messages"]] == [text]

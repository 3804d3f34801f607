"""What a consumer of the persisters' group holds: entries that it read and that are not settled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import redis.asyncio

from common.redis.group import GROUP
from tests.chaos.instance import Instance

_PAGE: Final = 10_000
Held = set[tuple[int, str]]
"""Partitions and positions."""


class Holdings:
    """Asked of Redis itself, past every proxy."""

    def __init__(self, client: redis.asyncio.Redis, instance: Instance) -> None:
        self._client = client
        settings = instance.settings.redis
        self._streams = [f"{settings.key_prefix}:{{{n}}}:events" for n in range(settings.partitions)]

    async def of_process(self, pid: int) -> Held:
        """What the persister `pid` holds: its names have its pid in the middle."""
        return {place for place, consumer in await self._pending() if consumer.split("-")[-2] == str(pid)}

    async def still_there(self, held: Held) -> Held:
        """Those of `held` that nobody has settled."""
        return held & {place for place, _ in await self._pending()}

    async def _pending(self) -> Iterable[tuple[tuple[int, str], str]]:
        found = list[tuple[tuple[int, str], str]]()
        for partition, stream in enumerate(self._streams):
            reply = await self._client.xpending_range(stream, GROUP, "-", "+", _PAGE)  # pyright: ignore[reportUnknownMemberType]
            for entry in cast("list[dict[str, Any]]", reply):
                found.append(((partition, entry["message_id"]), entry["consumer"]))
        return found


@asynccontextmanager
async def holdings(instance: Instance) -> AsyncGenerator[Holdings]:
    """Over a connection of its own."""
    async with redis.asyncio.Redis.from_url(instance.valkey.spec.dsn, decode_responses=True) as client:
        yield Holdings(client, instance)

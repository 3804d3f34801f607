"""Whether all that is on the log is in PostgreSQL, asked of the servers themselves, past every proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from common.assembly import keys_for
from common.domain.errors import LogUnavailable
from common.redis.client import RedisClient
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from tests.chaos.instance import Instance
from tools.settling import log_ends, wait_settled


@asynccontextmanager
async def consumer_group(instance: Instance) -> AsyncGenerator[ConsumerGroup]:
    """The persisters' group, over a connection of its own."""
    settings = instance.settings
    client = RedisClient(settings.redis.dsn)
    try:
        yield ConsumerGroup(Functions(client), keys_for(settings), settings.redis)
    finally:
        await client.aclose()


async def settled(instance: Instance, *, timeout_seconds: float) -> bool:
    """Wait until what is on the log by now is in PostgreSQL (or parked); False where it is not in time."""
    partitions = instance.settings.redis.partitions
    try:
        async with asyncio.timeout(timeout_seconds), consumer_group(instance) as group:
            while True:
                try:
                    ends = await log_ends(group, partitions)
                    return await wait_settled(group, ends, stall_seconds=timeout_seconds)
                except LogUnavailable:
                    await asyncio.sleep(0.05)
    except TimeoutError:
        return False

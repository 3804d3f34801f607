"""`python -m services.cache_builder`: where the cache builder is wired together."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import structlog

from common.assembly import assemble, keys_for
from common.inspection import inspection
from common.postgres.pool import open_pool
from common.postgres.store import Store
from common.redis.commands import Admit, Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.heartbeats import Heartbeats, Reading
from common.redis.misses import MissQueue
from common.redis.server import prepare_when_there
from common.service import need_redis, run_service
from common.settings import Settings
from services.cache_builder.builder import CacheBuilder

BLOCK_MS = 1000
log = structlog.get_logger(__name__)


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve rebuilds until asked to stop. A request that is under way then is the gateway's to repeat."""
    need_redis(settings)
    async with (
        open_pool(settings.postgres, application_name="turnlog-cache-builder") as pool,
        inspection(settings, pool) as inspecting,
    ):
        client = connect(settings.redis, admit=inspecting.admit)
        try:
            await _serve(settings, client, inspecting.admit, Store(pool), stop)
        finally:
            await client.aclose()


async def _serve(settings: Settings, client: Client, admit: Admit, store: Store, stop: asyncio.Event) -> None:
    functions = Functions(client)
    keys = keys_for(settings)
    if not await prepare_when_there(functions, keys, stop):
        return
    loader = assemble(settings, functions, store).loader
    builder = CacheBuilder(MissQueue(client, keys), loader, concurrency=settings.cache_builder.concurrency)
    consumer = uuid4().hex
    blocking = [
        connect(settings.redis, response_timeout=BLOCK_MS / 1000 + 5, admit=admit)
        for _ in range(keys.partitions)
    ]
    log.info("cache_builder_ready", partitions=keys.partitions)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = [
                tasks.create_task(builder.serve(reader, partition, consumer, block_ms=BLOCK_MS))
                for partition, reader in enumerate(blocking)
            ]
            beating = Heartbeats(functions, keys).keep_beating(Reading.CACHE_BUILDER, consumer)
            serving.append(tasks.create_task(beating))
            await stop.wait()
            for task in serving:
                task.cancel()
    finally:
        for reader in blocking:
            await reader.aclose()


if __name__ == "__main__":
    run_service("cache_builder", main)

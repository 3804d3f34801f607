"""`python -m services.persister`: where the persister is wired together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import structlog

from common.assembly import keys_for
from common.authority.leftovers import Leftovers
from common.authority.watermark import Watermark
from common.domain.errors import LogUnavailable
from common.domain.ids import now_ms
from common.inspection import inspection
from common.postgres.authority import AuthorityStore
from common.postgres.pool import Pool, open_pool
from common.postgres.readiness import record_when_there, warn_of_weaknesses
from common.postgres.standing import StandingSessions
from common.postgres.writer import BatchWriter
from common.redis.breaker import BreakerBoard
from common.redis.commands import Admit, Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from common.redis.heartbeats import Heartbeats, Reading
from common.redis.keys import Keys
from common.redis.server import prepare_when_there
from common.service import need_redis, run_service
from common.settings import PersisterSettings, Settings
from services.persister.breaker import Breaker
from services.persister.persister import Persister, consumer_name
from services.persister.progress import Progress
from services.persister.recorder import Recorder
from services.persister.takeover import Takeover
from services.persister.upkeep import Upkeep

log = structlog.get_logger(__name__)


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Write the log to PostgreSQL until asked to stop. Either server may come, go and come back."""
    need_redis(settings)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.postgres, application_name="turnlog-persister")
        )
        admit = (await stack.enter_async_context(inspection(settings, pool))).admit
        functions = Functions(await connected(stack, settings, admit))
        keys = keys_for(settings)
        if not await record_when_there(pool, keys.partitions, stop):
            return
        await warn_of_weaknesses(pool)
        if not await prepare_when_there(functions, keys, stop):
            return
        block_seconds = settings.persister.block_ms / 1000
        blocking = [
            await connected(stack, settings, admit, response_timeout=block_seconds + 5)
            for _ in range(keys.partitions)
        ]
        log.info("persister_ready", partitions=keys.partitions)
        ours = await persister(settings, pool, functions, keys, blocking)
        watermark = Watermark(ConsumerGroup(functions, keys, settings.redis), keys.partitions)
        async with asyncio.TaskGroup() as tasks:
            # What gateways left behind that are gone: here, because this process sees their events through.
            tidying = tasks.create_task(Leftovers(AuthorityStore(pool), watermark).run())
            heartbeats = Heartbeats(functions, keys)
            beating = tasks.create_task(heartbeats.keep_beating(Reading.PERSISTER, ours.name))
            others = Takeover(
                heartbeats,
                ConsumerGroup(functions, keys, settings.redis),
                ours.claim_soon,
                partitions=keys.partitions,
                idle_seconds=settings.persister.claim_min_idle_seconds,
                consumer=ours.name,
            )
            looking = tasks.create_task(others.run())
            standing = tasks.create_task(StandingSessions(pool, settings.postgres).run())
            await ours.run(stop)
            for task in (tidying, beating, looking, standing):
                task.cancel()


async def persister(
    settings: Settings, pool: Pool, functions: Functions, keys: Keys, blocking: list[Client]
) -> Persister:
    """The parts of a persister, put together."""
    group = ConsumerGroup(functions, keys, settings.redis)
    name = consumer_name()
    breaker = Breaker(settings.persister, BreakerBoard(functions.client, keys), by=name)
    breaker.remember(await lately_parked(group, keys, settings.persister))
    return Persister(
        group,
        blocking,
        recorder=Recorder(BatchWriter(pool), group, Progress(), breaker, by=name),
        breaker=breaker,
        upkeep=Upkeep(
            group,
            partitions=keys.partitions,
            replay_window_seconds=settings.persister.replay_window_seconds,
        ),
        settings=settings.persister,
        consumer=name,
    )


async def lately_parked(group: ConsumerGroup, keys: Keys, settings: PersisterSettings) -> list[float]:
    """How many seconds ago events were parked, oldest first, as far as the breaker minds."""
    now, window_ms = now_ms(), int(settings.breaker_window_seconds * 1000)
    times: list[int] = []
    for partition in range(keys.partitions):
        # A Redis that is away just now has its say later: the breaker then judges what comes by itself.
        with suppress(LogUnavailable):
            times += await group.parked_since(partition, now - window_ms, count=settings.breaker_min_events)
    return [(now - at) / 1000 for at in sorted(times)]


async def connected(
    stack: AsyncExitStack, settings: Settings, admit: Admit, *, response_timeout: float = 5.0
) -> Client:
    """A client of our Redis that is closed with `stack`."""
    client = connect(settings.redis, response_timeout=response_timeout, admit=admit)
    stack.push_async_callback(client.aclose)
    return client


if __name__ == "__main__":
    run_service("persister", main)

"""Asks the servers and the services of an instance how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import urlsplit

from common.assembly import keys_for
from common.domain.errors import LogUnavailable, TurnlogError
from common.domain.ids import Position, now_ms, position_order
from common.postgres.authority import AuthorityStore
from common.postgres.figures import CommittedPosition, read_committed_positions, read_figures
from common.postgres.pool import open_pool
from common.redis.breaker import BreakerBoard
from common.redis.commands import Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup, PartitionLag
from common.redis.heartbeats import SILENT_SECONDS, Heartbeats, Reading
from common.redis.keys import Keys
from common.redis.pressure import Bounds, Pressure
from common.redis.runs import count_rollbacks
from common.redis.stats import HOUR_MS, CacheStats
from common.settings import Settings
from tools.durability import durability_notes
from tools.status.problems import notes_of, problems_of, problems_of_authority
from tools.status.report import (
    AuthorityStatus,
    BreakerStatus,
    PartitionStatus,
    PostgresStatus,
    RedisStatus,
    Service,
    Status,
)
from tools.status.servers import ask_servers
from tools.up.port import is_ready

T = TypeVar("T")


async def collect(settings: Settings, url: str) -> Status:
    """The status of the instance whose gateway is at `url`; never fails for a part that is away."""
    failures: list[str] = []
    postgres, positions = await _postgres(settings, failures)
    redis, consumers = await _redis(settings, positions, failures)
    services = [await _gateway(url), *consumers]
    return Status(
        url=url,
        mode=settings.mode,
        services=services,
        redis=redis,
        postgres=postgres,
        problems=[
            *failures,
            *problems_of(services, redis),
            *(problems_of_authority(postgres.authority, uses_log=settings.uses_redis) if postgres else ()),
        ],
        notes=[*notes_of(redis), *await durability_notes(settings)],
    )


async def _postgres(
    settings: Settings, failures: list[str]
) -> tuple[PostgresStatus | None, list[CommittedPosition]]:
    try:
        async with open_pool(settings.postgres, application_name="turnlog-status") as pool:
            figures = await read_figures(pool)
            positions = await read_committed_positions(pool)
            authority = await AuthorityStore(pool).report()
    except TurnlogError as error:
        failures.append(str(error))
        return None, []
    last = max((position.at for position in positions), default=None)
    return PostgresStatus(
        users=figures.users,
        conversations=figures.conversations,
        deleted_conversations=figures.deleted_conversations,
        messages=figures.messages,
        tombstones=figures.tombstones,
        query_logs=figures.query_logs,
        database_bytes=figures.database_bytes,
        last_commit=f"{last:%Y-%m-%dT%H:%M:%SZ}" if last else None,
        authority=AuthorityStatus(**asdict(authority)),
    ), positions


async def _redis(
    settings: Settings, positions: list[CommittedPosition], failures: list[str]
) -> tuple[RedisStatus | None, list[Service]]:
    if not settings.uses_redis:
        return None, []
    client, keys = connect(settings.redis), keys_for(settings)
    try:
        committed = {position.partition: position.position for position in positions}
        status = await _redis_status(client, keys, settings, committed)
        heartbeats = Heartbeats(Functions(client), keys)
        readers = [await _or(_reading(heartbeats, kind), _unheard(kind), client) for kind in Reading]
    except TurnlogError as error:
        failures.append(str(error))
        return None, []
    else:
        return status, readers
    finally:
        await client.aclose()


async def _redis_status(
    client: Client, keys: Keys, settings: Settings, committed: dict[int, Position]
) -> RedisStatus:
    servers = await ask_servers(client)
    functions = Functions(client)
    group = ConsumerGroup(functions, keys, settings.redis)
    pressure = Pressure(functions, keys, Bounds())
    stats, now = CacheStats(client, keys), now_ms()
    hour = await _or(stats.since(now - HOUR_MS, until_ms=now), (0, 0), client)
    day = await _or(stats.since(now - 24 * HOUR_MS, until_ms=now), (0, 0), client)
    partitions = [
        await _or(
            _partition(client, group, pressure, keys, partition, committed=committed.get(partition)),
            None,
            client,
        )
        for partition in range(keys.partitions)
    ]
    return RedisStatus(
        version=servers.version,
        used_bytes=servers.used_bytes,
        max_bytes=servers.max_bytes,
        keys=servers.keys,
        evicted_keys=servers.evicted_keys,
        append_only=servers.append_only,
        hits_last_hour=hour[0],
        misses_last_hour=hour[1],
        hits_last_day=day[0],
        misses_last_day=day[1],
        partitions=[partition for partition in partitions if partition is not None],
        breaker=await _or(_breaker(client, keys), None, client),
        nodes=servers.nodes,
        rollbacks=await _or(count_rollbacks(client, keys), 0, client),
    )


async def _or(asked: Awaitable[T], otherwise: T, client: Client) -> T:
    """What is asked of a part of a cluster, or what is said where just that part is away."""
    try:
        return await asked
    except LogUnavailable:
        if not client.clustered:
            raise
        return otherwise


async def _breaker(client: Client, keys: Keys) -> BreakerStatus | None:
    found = await BreakerBoard(client, keys).read()
    if found is None:
        return None
    seconds = max(0, now_ms() - found.since_ms) / 1000
    return BreakerStatus(open_seconds=seconds, held=found.held, error=found.error)


async def _partition(
    client: Client,
    group: ConsumerGroup,
    pressure: Pressure,
    keys: Keys,
    partition: int,
    *,
    committed: Position | None,
) -> PartitionStatus:
    lag = await group.lag(partition)
    oldest = await _oldest(client, keys.events(partition), lag)
    backlog = await pressure.backlog(partition)
    return PartitionStatus(
        partition=partition,
        events=lag.length,
        not_read=lag.waiting,
        pending=lag.pending,
        parked=await client.call("XLEN", keys.dead(partition)),
        oldest_seconds=None if oldest is None else max(0, now_ms() - position_order(oldest)[0]) / 1000,
        waiting_bytes=backlog.bytes,
        refuses=backlog.refuses,
        committed_position=committed,
    )


async def _oldest(client: Client, events: str, lag: PartitionLag) -> Position | None:
    """The first entry that PostgreSQL does not have: one that was read, else one that was not."""
    if lag.oldest_pending is not None:
        return lag.oldest_pending
    if not lag.waiting:
        return None
    start = f"({lag.delivered}" if lag.delivered else "-"
    found: list[Any] = await client.call("XRANGE", events, start, "+", "COUNT", 1)
    return Position(found[0][0].decode()) if found else None


async def _reading(heartbeats: Heartbeats, service: Reading) -> Service:
    silence = await heartbeats.silence(service)
    alive = [seconds for seconds in silence if seconds < SILENT_SECONDS]
    if alive:
        return Service(name=service, up=True, detail=f"{len(alive)} reading")
    if silence:
        return Service(name=service, up=False, detail=f"silent for {silence[0]:,.0f} s")
    return Service(name=service, up=False, detail="never seen")


def _unheard(service: Reading) -> Service:
    return Service(name=service, up=False, detail="not known: the primary that hears of it is away")


async def _gateway(url: str) -> Service:
    parts = urlsplit(url)
    async with asyncio.timeout(10):
        ready = await is_ready(parts.hostname or "127.0.0.1", parts.port or 80)
    return Service(name="gateway", up=ready, detail="ready" if ready else "not ready, or does not answer")

"""Notices a Redis that came back without what PostgreSQL has, before anything of it is used.

Each new connection asks whether this run of the server was inspected; the first to find that it was not
inspects it. In a cluster each node has its runs, and is asked about its own partitions. See docs/adr/0090.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from common.assembly import assemble, keys_for
from common.domain.errors import LogUnavailable, TurnlogError
from common.domain.ids import Position, position_order
from common.postgres.figures import read_committed_positions, read_renumbered
from common.postgres.log_identity import claim_partitions as claim_in_postgres
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.redis.commands import Ask
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.runs import Runs, Served, is_inspected, run_of, served_by
from common.redis.server import check_policy, claim_partitions
from common.rollback import forget_renumbered, make_good
from common.settings import Settings

PATIENCE_SECONDS: Final = 1.0
START: Final = Position("0-0")

log = structlog.get_logger(__name__)


class Inspection:
    """Inspects each run of Redis once, however many connections of this process ask at the same time.

    A connection waits `patience_seconds` for that and is refused after, so that its callers can say so.
    """

    def __init__(self, settings: Settings, pool: Pool, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._settings = settings
        self._pool = pool
        self._patience = patience_seconds
        self._keys = keys_for(settings)
        self._under_way: dict[Served, asyncio.Task[None]] = {}

    async def admit(self, ask: Ask) -> None:
        """Let a connection pass if its run of the server was inspected. Raises LogUnavailable."""
        served = await self._served_by(ask)
        if await is_inspected(ask, self._keys, served):
            return
        inspecting = self._under_way.get(served)
        if inspecting is None or inspecting.done():
            inspecting = self._under_way[served] = asyncio.create_task(self._inspect(served))
            inspecting.add_done_callback(partial(self._report, served))
        await asyncio.wait([inspecting], timeout=self._patience)
        if not inspecting.done():
            raise LogUnavailable("Redis has been restarted and is being inspected")
        failure = None if inspecting.cancelled() else inspecting.exception()
        if failure is not None:
            raise LogUnavailable(f"Redis has been restarted and cannot be used yet: {failure}") from failure
        if not await is_inspected(ask, self._keys, served):
            raise LogUnavailable("Redis has been restarted meanwhile")

    async def start_afresh(self, moment: str) -> None:
        """Drop every cache of this run, though it was inspected: the record had the say until the return
        that began at `moment`. Once that is done for it, one who was held up drops nothing: the log is used.

        Raises LogUnavailable, also where somebody inspected the run in between, or where not all of a cluster
        can be seen: call again.
        """
        client = connect(self._settings.redis)
        try:
            servers = [await self._served_by(node.call_together) for node in await client.nodes()]
        finally:
            await client.aclose()
        seen = {partition for served in servers for partition in served.partitions}
        if len(seen) < self._keys.partitions:
            raise LogUnavailable("not all partitions of the log are served")
        for served in servers:
            if served.partitions:
                await self._start_server_afresh(served, moment)

    async def aclose(self) -> None:
        """Give up what is under way; whoever connects next begins again."""
        under_way = list(self._under_way.values())
        for inspecting in under_way:
            inspecting.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _served_by(self, ask: Ask) -> Served:
        return await served_by(ask, self._keys, clustered=self._settings.redis.cluster)

    async def _start_server_afresh(self, served: Served, moment: str) -> None:
        async with self._runs(served) as (functions, runs):
            if not await runs.revoke(moment):
                return
            rebuilder = assemble(self._settings, functions, Store(self._pool)).rebuilder
            if not await make_good(runs, rebuilder, served.partitions):
                raise LogUnavailable("Redis was inspected while its caches were dropped")
            await runs.returned(moment)
            await self._inspect_with(functions, runs)

    async def _inspect(self, served: Served) -> None:
        async with self._runs(served) as (functions, runs):
            client = functions.client
            node = await client.near(self._keys.log(served.partitions[0]))
            await check_policy(node, clustered=client.clustered)
            if 0 in served.partitions:
                await claim_partitions(client, self._keys)
            await self._inspect_with(functions, runs)

    @asynccontextmanager
    async def _runs(self, served: Served) -> AsyncGenerator[tuple[Functions, Runs]]:
        """A connection to that run of that server and to no other: one who is late must do nothing to the
        next."""

        async def admit(ask: Ask) -> None:
            if await run_of(ask) != served.run:
                raise LogUnavailable("Redis has been restarted meanwhile")

        client = connect(self._settings.redis, admit=admit)
        functions = Functions(client)
        try:
            ttl_ms = self._settings.redis.ttl_seconds * 1000
            yield functions, Runs(functions, self._keys, served, ttl_ms=ttl_ms)
        finally:
            await client.aclose()

    async def _inspect_with(self, functions: Functions, runs: Runs) -> None:
        await claim_in_postgres(self._pool, self._keys.partitions)
        everywhere = {p.partition: p.position for p in await read_committed_positions(self._pool)}
        committed = {partition: everywhere.get(partition, START) for partition in runs.served.partitions}
        behind = {
            partition
            for partition, position in committed.items()
            if position_order(await runs.last_position(partition)) < position_order(position)
        }
        rebuilder = assemble(self._settings, functions, Store(self._pool)).rebuilder
        if behind:
            await make_good(runs, rebuilder, behind)
        await forget_renumbered(runs, rebuilder, await read_renumbered(self._pool))
        await self._admit_all(runs, committed)

    async def _admit_all(self, runs: Runs, committed: Mapping[int, Position]) -> None:
        for partition, position in committed.items():
            ended = await runs.admit(partition, position)
            if ended is not None:
                lost_ms = position_order(position)[0] - position_order(ended)[0]
                log.error(
                    "redis_rolled_back",
                    partition=partition,
                    log_ended_at=ended,
                    postgres_has_up_to=position,
                    lost_seconds=None if ended == START else lost_ms / 1000,
                )

    def _report(self, served: Served, inspecting: asyncio.Task[None]) -> None:
        if self._under_way.get(served) is inspecting:
            del self._under_way[served]
        if inspecting.cancelled():
            return
        failure = inspecting.exception()
        if failure is None:
            log.info("redis_inspected", run=served.run, partitions=served.partitions)
        elif isinstance(failure, TurnlogError):
            log.warning("redis_not_inspected", reason=str(failure))
        else:
            log.error("redis_not_inspected", exc_info=failure)


@asynccontextmanager
async def inspection(
    settings: Settings, pool: Pool, *, patience_seconds: float = PATIENCE_SECONDS
) -> AsyncGenerator[Inspection]:
    """What admits a process's connections to Redis; close them before the block ends."""
    ours = Inspection(settings, pool, patience_seconds=patience_seconds)
    try:
        yield ours
    finally:
        await ours.aclose()

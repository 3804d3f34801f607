"""Notices a Redis that came back without what PostgreSQL has, before anything of it is used.

Each new connection asks whether this run of the server was inspected; the first to find that it was not
inspects it. See docs/adr/0090.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from common.assembly import assemble, keys_for
from common.domain.errors import LogUnavailable, TurnlogError
from common.domain.ids import Position, position_order
from common.postgres.figures import read_committed_positions
from common.postgres.log_identity import claim_partitions as claim_in_postgres
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.redis.commands import Ask
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.runs import Runs, is_inspected, run_of
from common.redis.server import check_policy, claim_partitions
from common.rollback import make_good
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
        self._under_way: asyncio.Task[str] | None = None

    async def admit(self, ask: Ask) -> None:
        """Let a connection pass if its run of the server was inspected. Raises LogUnavailable."""
        run = await run_of(ask)
        if await is_inspected(ask, self._keys, run):
            return
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._inspect())
            self._under_way.add_done_callback(_report)
        inspecting = self._under_way
        await asyncio.wait([inspecting], timeout=self._patience)
        if not inspecting.done():
            raise LogUnavailable("Redis has been restarted and is being inspected")
        failure = inspecting.exception()
        if failure is not None:
            raise LogUnavailable(f"Redis has been restarted and cannot be used yet: {failure}") from failure
        if inspecting.result() != run:
            raise LogUnavailable("Redis has been restarted meanwhile")

    async def start_afresh(self, moment: str) -> None:
        """Drop every cache of this run, though it was inspected: the record had the say until the return
        that began at `moment`. Once that is done for it, one who was held up drops nothing: the log is used.

        Raises LogUnavailable, also where somebody inspected the run in between: call again.
        """
        client = connect(self._settings.redis)
        try:
            functions = Functions(client)
            runs = Runs(functions, self._keys, ttl_ms=self._settings.redis.ttl_seconds * 1000)
            run = await run_of(runs.ask)
            if not await runs.revoke(moment):
                return
            rebuilder = assemble(self._settings, functions, Store(self._pool)).rebuilder
            if not await make_good(runs, rebuilder, run, range(self._keys.partitions)):
                raise LogUnavailable("Redis was inspected while its caches were dropped")
            await runs.returned(moment)
            await self._inspect_with(functions)
        finally:
            await client.aclose()

    async def aclose(self) -> None:
        """Give up what is under way; whoever connects next begins again."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    async def _inspect(self) -> str:
        client = connect(self._settings.redis)
        try:
            functions = Functions(client)
            await check_policy(client)
            await claim_partitions(client, self._keys)
            return await self._inspect_with(functions)
        finally:
            await client.aclose()

    async def _inspect_with(self, functions: Functions) -> str:
        runs = Runs(functions, self._keys, ttl_ms=self._settings.redis.ttl_seconds * 1000)
        run = await run_of(runs.ask)
        await claim_in_postgres(self._pool, self._keys.partitions)
        committed = {p.partition: p.position for p in await read_committed_positions(self._pool)}
        behind = {
            partition
            for partition, position in committed.items()
            if position_order(await runs.last_position(partition)) < position_order(position)
        }
        if behind:
            rebuilder = assemble(self._settings, functions, Store(self._pool)).rebuilder
            await make_good(runs, rebuilder, run, behind)
        await self._admit_all(runs, run, committed)
        return run

    async def _admit_all(self, runs: Runs, run: str, committed: Mapping[int, Position]) -> None:
        for partition in range(self._keys.partitions):
            position = committed.get(partition, START)
            ended = await runs.admit(run, partition, position)
            if ended is not None:
                lost_ms = position_order(position)[0] - position_order(ended)[0]
                log.error(
                    "redis_rolled_back",
                    partition=partition,
                    log_ended_at=ended,
                    postgres_has_up_to=position,
                    lost_seconds=None if ended == START else lost_ms / 1000,
                )


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


def _report(inspecting: asyncio.Task[str]) -> None:
    if inspecting.cancelled():
        return
    failure = inspecting.exception()
    if failure is None:
        log.info("redis_inspected", run=inspecting.result())
    elif isinstance(failure, TurnlogError):
        log.warning("redis_not_inspected", reason=str(failure))
    else:
        log.error("redis_not_inspected", exc_info=failure)

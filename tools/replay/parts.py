"""Connects what a replay needs, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from common.assembly import keys_for
from common.domain.errors import TurnlogError
from common.postgres.migrations import SchemaOutdated, check_schema
from common.postgres.pool import open_pool
from common.postgres.writer import BatchWriter
from common.redis.cache import Cache
from common.redis.functions import Functions
from common.redis.pressure import Pressure, bounds_from
from common.settings import PostgresSettings, Settings
from tools.connections import Connections, connected
from tools.errors import CommandError
from tools.replay.elsewhere import other_redis
from tools.replay.from_log import LogSource
from tools.replay.from_record import RecordSource
from tools.replay.options import From, Route, To
from tools.replay.page import Source, Target
from tools.replay.selection import Selection
from tools.replay.targets import CachesTarget, NowhereTarget, OutputTarget, RecordTarget
from tools.replay.to_stream import StreamTarget, TellingTarget


@asynccontextmanager
async def opened(
    settings: Settings, route: Route, selection: Selection, *, dry_run: bool
) -> AsyncGenerator[tuple[Source, Target]]:
    """Source and target, connected. Raises CommandError where one cannot be used."""
    async with AsyncExitStack() as stack:
        log: Connections | None = None
        if route.needs_log:
            log = await stack.enter_async_context(connected(settings, "replay"))
            pool = log.pool
        else:
            pool = await stack.enter_async_context(
                open_pool(settings.postgres, application_name="turnlog-replay")
            )
        source: Source
        if route.source is From.LOG and log is not None:
            source = LogSource(log.client, log.keys, selection)
        else:
            names_only = route.target is To.CACHES
            source = RecordSource(pool, keys_for(settings), selection, names_only=names_only)
        if dry_run:
            yield source, NowhereTarget()
        elif route.target is To.STDOUT:
            yield source, OutputTarget(sys.stdout)
        elif route.target is To.CACHES and log is not None:
            cache = Cache(Functions(log.client), log.keys, settings.redis)
            yield source, CachesTarget(cache, log.rebuilder)
        elif route.target is To.STREAM:
            yield source, await _stream(stack, settings, route, log)
        elif route.database_url is not None:
            yield source, await _database(stack, route.database_url, settings.postgres)
        else:
            yield source, RecordTarget(BatchWriter(pool), positions=True)


async def _stream(
    stack: AsyncExitStack, settings: Settings, route: Route, log: Connections | None
) -> StreamTarget | TellingTarget:
    keys = keys_for(settings)
    if route.redis_url is None and log is not None:
        client = log.client
    else:
        client = await other_redis(stack, settings, route.redis_url or "")
    if route.source is From.LOG:
        return StreamTarget(client, keys)
    functions = Functions(client)
    try:
        await Pressure(functions, keys, bounds_from(settings)).set_missing_bounds()
    except TurnlogError as error:
        raise CommandError(f"the target: {error}") from error
    return TellingTarget(functions, keys)


async def _database(stack: AsyncExitStack, url: str, settings: PostgresSettings) -> RecordTarget:
    there = settings.model_copy(update={"url": SecretStr(url)})
    pool = await stack.enter_async_context(open_pool(there, application_name="turnlog-replay"))
    try:
        await check_schema(pool)
    except SchemaOutdated as error:
        raise CommandError(f"the target: {error} (with its DATABASE_URL)") from error
    except TurnlogError as error:
        raise CommandError(f"the target: {error}") from error
    # Its own log, if it has one, is another: positions on ours say nothing of that.
    return RecordTarget(BatchWriter(pool), positions=False)

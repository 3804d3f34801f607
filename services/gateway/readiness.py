"""Whether the servers that the gateway needs are there, and fit for use."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import structlog

from common.authority.session import LogSession
from common.domain.errors import LogUnavailable, UnsafeConfiguration
from common.postgres.authority import Holder
from common.postgres.store import Store
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.server import prepare_server
from services.gateway.health import Probe

_RETRY_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


class RedisReadiness:
    """Whether Redis may be used: its set-up was checked, and it has our functions."""

    def __init__(self, functions: Functions, keys: Keys) -> None:
        self._functions = functions
        self._keys = keys
        self._prepared = False

    async def first_try(self) -> None:
        """Check the server if it is there. Raises UnsafeConfiguration."""
        try:
            await prepare_server(self._functions, self._keys)
            self._prepared = True
        except LogUnavailable as error:
            log.warning("redis_not_there_yet", reason=str(error))

    async def run(self) -> None:
        """Try until it was checked; a set-up that is not safe ends this worker."""
        while not self._prepared:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                await self.first_try()
            except UnsafeConfiguration as error:
                stop_serving(error)
                return

    async def probe(self) -> str | None:
        """For /readyz. Puts the functions back where Redis came back without its data."""
        if not self._prepared:
            return "not there yet"
        await self._functions.put_back()
        return None


def stop_serving(error: UnsafeConfiguration) -> None:
    """End this worker, whose set-up turned out not to be safe only after it had begun to serve."""
    log.critical("cannot_serve", reason=str(error))
    os.kill(os.getpid(), signal.SIGTERM)


def log_probe(session: LogSession, redis: RedisReadiness) -> Probe:
    """A probe of Redis, which is not missed while PostgreSQL has the say."""

    async def probe() -> str | None:
        return None if session.holder is Holder.RECORD else await redis.probe()

    return probe


def store_probe(store: Store) -> Probe:
    """A probe of PostgreSQL."""

    async def probe() -> str | None:
        await store.ping()
        return None

    return probe

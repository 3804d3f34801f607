"""Connections to PostgreSQL: how they are made, and the pool that a process shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from common.domain.errors import StoreUnavailable
from common.postgres.outages import outages
from common.settings import PostgresSettings

CONNECT_TIMEOUT_SECONDS: Final = 5.0
ACQUIRE_TIMEOUT_SECONDS: Final = 5.0
CLOSE_TIMEOUT_SECONDS: Final = 5.0

if TYPE_CHECKING:  # generic in their stubs only
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    _PlainConnection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = _PlainConnection = asyncpg.Connection
    Pool = asyncpg.Pool

log = structlog.get_logger(__name__)


class _PooledConnection(_PlainConnection):
    def get_reset_query(self) -> str:
        """Nothing: we never change a session, and a reset would double every read's round trips."""
        return ""


async def connect(dsn: str) -> _PlainConnection:
    """One connection for administration: no time limit on its statements."""
    with outages():
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": "turnlog-admin", "timezone": "UTC"},
        )


@asynccontextmanager
async def open_pool(settings: PostgresSettings, *, application_name: str) -> AsyncGenerator[Pool]:
    """A pool of connections, also where PostgreSQL is away for now: it connects when it is used.

    `json` values are bytes, exactly as they are stored.
    """
    pool = _pool(settings, application_name)
    await pool
    try:
        await _warm_up(pool, settings.pool_min_size)
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()


def _pool(settings: PostgresSettings, application_name: str) -> Pool:
    statement_timeout = settings.statement_timeout_seconds
    return asyncpg.create_pool(
        settings.dsn,
        min_size=0,
        max_size=settings.pool_max_size,
        init=_use_json_as_bytes,
        connection_class=_PooledConnection,
        timeout=CONNECT_TIMEOUT_SECONDS,
        # The server's own limit strikes first; this one is for a server that has gone silent.
        command_timeout=statement_timeout + 5,
        server_settings={
            "application_name": application_name,
            "timezone": "UTC",
            "statement_timeout": f"{statement_timeout * 1000:.0f}",
            # A process that stands still inside a transaction must not keep its row locks (see standing.py).
            "idle_in_transaction_session_timeout": f"{statement_timeout * 1000:.0f}",
            "jit": "off",  # compiling costs more than any of our statements runs
        },
    )


async def _warm_up(pool: Pool, connections: int) -> None:
    try:
        with outages():
            async with AsyncExitStack() as stack:
                for _ in range(connections):
                    await stack.enter_async_context(pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS))
    except StoreUnavailable as error:
        log.warning("postgres_not_available_yet", error=str(error))


async def _use_json_as_bytes(connection: Any) -> None:
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes
    )

"""The transactions that everything here runs in, and the guard that may refuse them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from common.domain.errors import StoreUnavailable
from common.domain.ids import UserId
from common.postgres.outages import connection_lost, outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.store import Queries

Guard = Callable[[Connection, UserId], Awaitable[None]]
"""Awaited first inside every transaction; raises to end it before anything is read or changed. What it
reads is of the same moment as what is read after it; what a write must not lose, it locks."""

Result = TypeVar("Result")


class Transactions:
    """Transactions for one user's data. All raise StoreUnavailable where PostgreSQL is away or too slow."""

    def __init__(self, pool: Pool, guard: Guard | None = None) -> None:
        self._pool = pool
        self._guard = guard

    @asynccontextmanager
    async def one_read(self, user: UserId) -> AsyncGenerator[Queries]:
        """For a single statement, which is of one moment by itself: no transaction around it, unless the
        guard's statements come before."""
        if self._guard is not None:
            async with self.snapshot(user) as queries:
                yield queries
            return
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                yield Queries(connection.fetch)

    @asynccontextmanager
    async def snapshot(self, user: UserId) -> AsyncGenerator[Queries]:
        """For several statements that must see the same moment."""
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                if self._guard is not None:
                    await self._guard(connection, user)
                yield Queries(connection.fetch)

    @asynccontextmanager
    async def change(self, user: UserId) -> AsyncGenerator[Connection]:
        """A change: committed when the block ends, undone when it raises. READ COMMITTED, so that every
        statement sees what was committed before a lock was granted."""
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                if self._guard is not None:
                    await self._guard(connection, user)
                yield connection


async def repeated(attempt: Callable[[bool], Awaitable[Result]]) -> Result:
    """Run `attempt(first)`, and once more where the connection was lost: the change may have been committed.

    Only for changes that know what they have done already.
    """
    try:
        return await attempt(True)
    except StoreUnavailable as lost:
        if not connection_lost(lost):
            raise
    return await attempt(False)

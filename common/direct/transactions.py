"""The transactions that everything here runs in, and the guard that may refuse them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from common.domain.errors import StoreUnavailable
from common.domain.ids import ConversationId, UserId
from common.postgres.authority import AuthorityMoved
from common.postgres.outages import connection_lost, outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.store import Queries

Guard = Callable[[Connection, UserId, ConversationId | None], Awaitable[None]]
"""Awaited first inside a transaction that is about a conversation, or (None) about all of a user's; raises
to end it before anything is read or changed."""


@dataclass(frozen=True, slots=True)
class Guards:
    """`reads` sees the same moment as what is read after it; `changes` locks what must hold until the
    commit."""

    reads: Guard | None = None
    changes: Guard | None = None


Result = TypeVar("Result")


class Transactions:
    """Transactions for one user's data. All raise StoreUnavailable where PostgreSQL is away or too slow."""

    def __init__(self, pool: Pool, guards: Guards | None = None) -> None:
        self._pool = pool
        self._guards = guards or Guards()

    @asynccontextmanager
    async def one_read(
        self, user: UserId, conversation: ConversationId | None = None
    ) -> AsyncGenerator[Queries]:
        """For a single statement, which is of one moment by itself: no transaction around it, unless the
        guard's statements come before."""
        if self._guards.reads is not None:
            async with self.snapshot(user, conversation) as queries:
                yield queries
            return
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                yield Queries(connection.fetch)

    @asynccontextmanager
    async def snapshot(
        self, user: UserId, conversation: ConversationId | None = None
    ) -> AsyncGenerator[Queries]:
        """For several statements that must see the same moment."""
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                if self._guards.reads is not None:
                    await self._guards.reads(connection, user, conversation)
                yield Queries(connection.fetch)

    @asynccontextmanager
    async def change(self, user: UserId, conversation: ConversationId) -> AsyncGenerator[Connection]:
        """A change: committed when the block ends, undone when it raises. READ COMMITTED, so that every
        statement sees what was committed before a lock was granted."""
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                if self._guards.changes is not None:
                    await self._guards.changes(connection, user, conversation)
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
    try:
        return await attempt(False)
    except AuthorityMoved as moved:
        # It must not be made elsewhere now: the first try may have been committed.
        raise StoreUnavailable("the connection to PostgreSQL was lost") from moved

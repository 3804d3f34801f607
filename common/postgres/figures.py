"""What operators want to know of the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from common.domain.ids import ConversationId, Position, UserId
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool
from common.postgres.queries import statement


@dataclass(frozen=True, slots=True)
class Figures:
    """Rows by table, and bytes. `conversations` are all, the `deleted_conversations` among them.

    Over five million, `messages` is an estimate.
    """

    users: int
    conversations: int
    deleted_conversations: int
    messages: int
    tombstones: int
    query_logs: int
    database_bytes: int


@dataclass(frozen=True, slots=True)
class CommittedPosition:
    """The last entry of one partition that PostgreSQL has, and since when."""

    partition: int
    position: Position
    at: datetime


async def read_figures(pool: Pool) -> Figures:
    """Count. Raises StoreUnavailable."""
    [row] = await _fetch(pool, "figures")
    return Figures(**dict(row))


async def read_committed_positions(pool: Pool) -> list[CommittedPosition]:
    """Of every partition that anything was committed of. Raises StoreUnavailable."""
    rows = await _fetch(pool, "committed_positions")
    return [
        CommittedPosition(
            row["partition"], Position(f"{row['position_ms']}-{row['position_seq']}"), row["updated_at"]
        )
        for row in rows
    ]


async def read_renumbered(pool: Pool) -> list[tuple[UserId, ConversationId]]:
    """The conversations in which a message stands at another number than its event says."""
    return [(row["user_id"], ConversationId(row["id"])) for row in await _fetch(pool, "renumbered")]


async def _fetch(pool: Pool, name: str) -> list[asyncpg.Record]:
    with outages():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            return await connection.fetch(statement(name))

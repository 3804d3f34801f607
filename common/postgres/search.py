"""Full text search in PostgreSQL, and the making of words that an earlier version did not write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import structlog

from common.domain.errors import StoreUnavailable
from common.domain.events import MessageBody
from common.domain.ids import ConversationId, UserId
from common.domain.messages import message_text
from common.domain.search.hits import Hit, Hits, PendingMessage, Unrecorded
from common.domain.search.wanted import Place, Wanted, make_place
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool
from common.postgres.queries import statement
from common.postgres.rows import message_time
from common.postgres.search_words import query_text, vector_text

RANKED: Final = 5000
"""Matches that are ranked, the newest: a word that is in all of a million messages must not take seconds."""
INDEX_STEP: Final = 100
INDEX_EVERY_SECONDS: Final = 60.0

Run = Callable[..., Awaitable[list[asyncpg.Record]]]

log = structlog.get_logger(__name__)


async def search(
    run: Run, user: UserId, wanted: Wanted, unrecorded: Unrecorded, *, limit: int, after: Place | None
) -> Hits:
    """The `limit` best hits behind `after`, with what is `unrecorded` laid over the record.

    `run` runs one statement. The unrecorded must have been read before.
    """
    place = (after.score, after.created_at, after.conversation, after.sequence_number) if after else ()
    rows = await run(
        statement("search_messages"),
        user,
        query_text(user, wanted),
        unrecorded.deleted,
        [conversation for conversation, _ in unrecorded.hidden],
        [number for _, number in unrecorded.hidden],
        *_columns(user, unrecorded.messages),
        *(place or (None,) * 4),
        RANKED,
        limit + 1,
    )
    bodies = {(m.conversation, m.sequence_number): m.body for m in unrecorded.messages}
    items = [_hit(row, bodies, unrecorded) for row in rows[:limit]]
    return Hits(items, make_place(items[-1].place, wanted) if len(rows) > limit else None)


def _columns(user: UserId, messages: list[PendingMessage]) -> list[list[Any]]:
    """Pending messages as the arrays that the statement takes."""
    columns: list[list[Any]] = [[], [], [], [], [], []]
    for message in messages:
        fields = MessageBody(message.body).fields
        row = (
            *(message.conversation, message.sequence_number, fields["id"], message.version),
            message_time(fields),
            vector_text(user, message_text(fields.get("content"))),
        )
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def _hit(row: asyncpg.Record, bodies: dict[tuple[ConversationId, int], bytes], unrecorded: Unrecorded) -> Hit:
    conversation = ConversationId(row["conversation_id"])
    number = row["sequence_number"]
    return Hit(
        Place(row["score"], row["created_at"], conversation, number),
        bodies[conversation, number] if row["pending"] else row["payload"],
        unrecorded.titles.get(conversation, row["title"]),
    )


async def index_some(pool: Pool, step: int = INDEX_STEP) -> int:
    """Make the words of at most `step` messages that have none yet; how many there were."""
    with outages():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection, connection.transaction():
            rows = await connection.fetch(statement("lock_unsearched"), step)
            if rows:
                texts = [message_text(MessageBody(row["payload"]).fields.get("content")) for row in rows]
                await connection.execute(
                    statement("put_search"),
                    *(
                        [row[name] for row in rows]
                        for name in ("user_id", "conversation_id", "sequence_number")
                    ),
                    [
                        vector_text(UserId(row["user_id"]), text)
                        for row, text in zip(rows, texts, strict=True)
                    ],
                )
            return len(rows)


async def keep_indexing(pool: Pool, *, every_seconds: float = INDEX_EVERY_SECONDS) -> None:
    """Make what words are missing, at the start and now and then, until cancelled."""
    while True:
        try:
            more = True
            while more:
                more = await index_some(pool) == INDEX_STEP
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            log.warning("messages_not_indexed", reason=str(error))
        await asyncio.sleep(every_seconds)

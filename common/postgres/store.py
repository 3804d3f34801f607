"""What readers get from PostgreSQL, the record. Writing is `writer.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import asyncpg

from common.domain.conversations import Header, State
from common.domain.errors import StoreUnavailable
from common.domain.ids import ConversationId, MessageId, UserId
from common.domain.messages import BIGINT_MAX, Numbered, parse_body
from common.domain.overlay import OnRecord, Pending
from common.domain.paging import Window
from common.domain.search.hits import ALL_RECORDED, Hits, Unrecorded
from common.domain.search.wanted import Place, Wanted
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool
from common.postgres.queries import statement
from common.postgres.search import search

MAX_UNDER_WAY: Final = 1000
"""Reads that a process has under way, most of them waiting for a connection of the pool."""
PART_BYTES: Final = 256 * 1024
PART_MESSAGES: Final = 500
"""How much an export holds at a time: so many bytes, with its last message more, or so many messages."""
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_LAST_PLACE: Final = (BIGINT_MAX, "ffffffff-ffff-ffff-ffff-ffffffffffff")


Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Runs one statement with its arguments."""
Result = TypeVar("Result")
NOTHING_PENDING: Final = Pending({}, frozenset())


@dataclass(frozen=True, slots=True)
class Loaded:
    """A conversation and its newest messages, ascending, as they were at one moment; and beside them what
    was said to be pending, as it was then."""

    header: Header
    messages: list[Numbered]
    pending: Pending = NOTHING_PENDING


@dataclass(frozen=True, slots=True)
class ById:
    """Messages by their ids: those that are there, and those that were deleted."""

    found: dict[MessageId, Numbered]
    removed: frozenset[MessageId]


class Queries:
    """Reads of the record, over whatever runs a statement: a pool, or one connection's transaction.

    Another user's conversation is not there: every statement is about one user's rows only. Those
    with `excluding` leave out the rows that the caller knows better from what is pending.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch_rows = fetch

    async def load(self, user: UserId, conversation: ConversationId, limit: int) -> Loaded | None:
        """Header, of a deleted conversation too, and the newest `limit` messages, in one query."""
        rows = await self._fetch("load_conversation", user, conversation, limit)
        if not rows:
            return None
        row = rows[0]
        newest_first = zip(row["numbers"] or (), row["payloads"] or (), strict=True)
        messages = sorted((Numbered(*pair) for pair in newest_first), key=lambda m: m.sequence_number)
        return Loaded(header_of(row), messages)

    async def window(
        self,
        user: UserId,
        conversation: ConversationId,
        window: Window,
        *,
        excluding: Sequence[int] = (),
    ) -> list[Numbered]:
        """The messages of `window`, ascending."""
        rows = await self._fetch(
            "window_last" if window.of_last else "window_first",
            user,
            conversation,
            -1 if window.after is None else min(window.after, BIGINT_MAX),
            BIGINT_MAX if window.before is None else min(window.before, BIGINT_MAX),
            window.limit,
            excluding,
        )
        messages = _messages(rows)
        return messages[::-1] if window.of_last else messages

    async def part(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        after: int,
        before: int,
        excluding: Sequence[int] = (),
    ) -> list[Numbered]:
        """The first messages between two numbers, ascending: at least one, and about PART_BYTES."""
        bounds = (min(after, BIGINT_MAX), min(before, BIGINT_MAX), PART_MESSAGES, PART_BYTES)
        return _messages(await self._fetch("export_part", user, conversation, *bounds, excluding))

    async def conversation_ids(
        self, user: UserId, *, after: ConversationId | None, limit: int
    ) -> list[ConversationId]:
        """The user's conversations that are not deleted, in the order of their ids."""
        rows = await self._fetch("conversation_ids", user, after or _FIRST_ID, after, limit)
        return [ConversationId(row["id"]) for row in rows]

    async def slice(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        offset: int,
        limit: int,
        excluding: Sequence[int] = (),
        descending: bool = False,
    ) -> list[Numbered]:
        """Messages `offset` to `offset + limit` of the whole history in ascending (descending) order."""
        name = "slice_descending" if descending else "slice_ascending"
        offset = min(offset, BIGINT_MAX)
        return _messages(await self._fetch(name, user, conversation, offset, limit, excluding))

    async def count_messages(
        self, user: UserId, conversation: ConversationId, *, excluding: Sequence[int] = ()
    ) -> int:
        """How many messages a conversation has; none where it is absent or deleted."""
        rows = await self._fetch("count_messages", user, conversation, excluding)
        return rows[0][0] if rows else 0

    async def count_after(
        self, user: UserId, conversation: ConversationId, number: int, *, excluding: Sequence[int] = ()
    ) -> int:
        """How many messages stand behind sequence number `number`."""
        rows = await self._fetch("count_after", user, conversation, min(number, BIGINT_MAX), excluding)
        return rows[0][0]

    async def messages_by_id(
        self, user: UserId, conversation: ConversationId, ids: Sequence[MessageId]
    ) -> ById:
        """The messages that have these ids."""
        rows = await self._fetch("messages_by_id", user, conversation, ids)
        return ById(
            {MessageId(row["id"]): _message(row) for row in rows if row["payload"] is not None},
            frozenset(MessageId(row["id"]) for row in rows if row["payload"] is None),
        )

    async def beside(self, user: UserId, conversation: ConversationId, pending: Pending) -> Pending:
        """`pending` as it stands beside the record; to be asked together with what it is laid over."""
        bodies = list(pending.bodies.values())
        if not bodies:
            return pending
        numbers = [message.sequence_number for message in bodies]
        ids = [str(parse_body(message.body)["id"]) for message in bodies]
        rows = await self._fetch("recorded_messages", user, conversation, numbers, ids)
        return pending.beside(
            OnRecord(
                row["number"],
                row["payload"],
                row["version"],
                gone=row["gone"],
                elsewhere=row["elsewhere"],
                taken=row["taken"],
            )
            for row in rows
        )

    async def messages_by_number(
        self, user: UserId, conversation: ConversationId, numbers: Sequence[int]
    ) -> list[Numbered]:
        """The messages that have these sequence numbers, in any order."""
        return _messages(await self._fetch("messages_by_number", user, conversation, numbers))

    async def conversations(
        self,
        user: UserId,
        *,
        limit: int,
        offset: int = 0,
        before: tuple[int, str] | None = None,
        since_ms: int = 0,
        excluding: Sequence[str] = (),
    ) -> list[Header]:
        """The user's conversations, last modified first, without the deleted ones.

        `before` is `Header.order` of a row: only what comes after it in the list.
        """
        place = _LAST_PLACE if before is None else before
        offset = min(offset, BIGINT_MAX)
        rows = await self._fetch("conversations", user, *place, since_ms, excluding, offset, limit)
        return [header_of(row) for row in rows]

    async def search(
        self,
        user: UserId,
        wanted: Wanted,
        unrecorded: Unrecorded = ALL_RECORDED,
        *,
        limit: int,
        after: Place | None = None,
    ) -> Hits:
        """The user's messages that `wanted` finds, best first; see `search`."""
        return await search(self._fetch_rows, user, wanted, unrecorded, limit=limit, after=after)

    async def count_conversations(
        self, user: UserId, *, since_ms: int = 0, excluding: Sequence[str] = ()
    ) -> int:
        """How many conversations `conversations` would go through."""
        return (await self._fetch("count_conversations", user, since_ms, excluding))[0][0]

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._fetch_rows(statement(name), *arguments)


class Store(Queries):
    """Reads over a pool. Everything raises StoreUnavailable where PostgreSQL is away or too slow:
    `deadline_seconds` are for all of it, a free connection and a new one included.
    """

    def __init__(self, pool: Pool, *, deadline_seconds: float | None = None) -> None:
        super().__init__(self._run)
        self._pool = pool
        self._deadline_seconds = deadline_seconds
        self._running: set[asyncio.Task[Any]] = set()

    async def ping(self) -> None:
        """Return where PostgreSQL answers."""
        await self._run("SELECT 1")

    async def load(
        self,
        user: UserId,
        conversation: ConversationId,
        limit: int,
        pending: Pending = NOTHING_PENDING,
    ) -> Loaded | None:
        """See Queries.load; `pending` is what Redis said before."""
        if not pending.bodies:
            loaded = await super().load(user, conversation, limit)
            return loaded and replace(loaded, pending=pending)

        async def read(queries: Queries) -> Loaded | None:
            loaded = await queries.load(user, conversation, limit)
            known = await queries.beside(user, conversation, pending)
            return loaded and replace(loaded, pending=known)

        return await self._bounded(self._at_one_moment(read))

    async def read_beside(
        self,
        user: UserId,
        conversation: ConversationId,
        pending: Pending,
        read: Callable[[Queries, Pending], Awaitable[Result]],
    ) -> tuple[Result, Pending]:
        """What `read` finds, and `pending` (what Redis said before) as it stands beside that then."""
        if not pending.bodies:
            return await read(self, pending), pending

        async def both(queries: Queries) -> tuple[Result, Pending]:
            known = await queries.beside(user, conversation, pending)
            return await read(queries, known), known

        return await self._bounded(self._at_one_moment(both))

    async def _run(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._bounded(self._on_connection(sql, *arguments))

    async def _bounded(self, reading: Coroutine[Any, Any, Result]) -> Result:
        if len(self._running) >= MAX_UNDER_WAY:
            reading.close()
            raise StoreUnavailable("too many reads wait for PostgreSQL")
        task = asyncio.create_task(reading)
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise StoreUnavailable("PostgreSQL did not answer in time") from error
        finally:
            # Not waited for: a statement that is given up holds on to its connection until a server that
            # may be frozen has taken note.
            task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever asked may have gone

    async def _on_connection(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                return await connection.fetch(sql, *arguments)

    async def _at_one_moment(self, read: Callable[[Queries], Awaitable[Result]]) -> Result:
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await read(Queries(connection.fetch))


def _messages(rows: Iterable[asyncpg.Record]) -> list[Numbered]:
    return [_message(row) for row in rows]


def _message(row: asyncpg.Record) -> Numbered:
    return Numbered(row["sequence_number"], row["payload"])


def header_of(row: asyncpg.Record) -> Header:
    """The header in a row of `conversations`, as the statements here select it."""
    return Header(
        id=ConversationId(row["id"]),
        state=State(row["title"], row["model"], row["metadata"], row["created_at_text"]),
        last_modified_ms=row["last_modified_ms"],
        next_sequence_number=row["next_sequence_number"],
        message_count=row["message_count"],
        preview=row["preview"],
        version=row["version"],
        epoch=row["epoch"],
        deleted=row["deleted"],
    )

"""What `turnlog verify` asks of the record, and the mending that is done there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, assert_never

import asyncpg

from common.domain.conversations import Header
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
    QueryLogged,
)
from common.domain.ids import ConversationId, UserId
from common.domain.messages import BIGINT_MAX, Numbered, parse_body
from common.domain.overlay import removed_numbers
from common.postgres.authority import Holder
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.queries import statement
from common.postgres.rows import body_preview
from common.postgres.store import header_of

NIL: Final = ConversationId("00000000-0000-0000-0000-000000000000")
_PREVIEW_PAGE: Final = 50
_Owned = tuple[UserId, ConversationId]


@dataclass(frozen=True, slots=True)
class RecordLook:
    """All that PostgreSQL has of a conversation, at one moment."""

    header: Header
    state_version: int
    preview_sequence: int | None
    newest: list[Numbered]
    """Ascending."""
    versions: dict[int, int]
    """Of the events that the newest messages' bodies are from."""
    rows: int
    rows_untouched: int
    """Messages with other numbers than those the caller named."""
    highest: int | None
    buried: int
    removed: frozenset[int]
    """Numbers that the caller named and that are tombstoned."""
    gaps: list[range]
    own_preview: tuple[str, int] | None
    """The preview by the messages themselves, with the number it is of."""

    @property
    def remains(self) -> bool:
        """Whether a deleted conversation still has anything of what it held."""
        header, state = self.header, self.header.state
        held = (state.title, state.model, header.preview, self.preview_sequence)
        return header.deleted and (bool(header.message_count) or any(value is not None for value in held))


@dataclass(frozen=True, slots=True)
class Raised:
    """What a conversation's counters are at least."""

    next_sequence_number: int = 0
    version: int = 0
    epoch: int = 0


class RecordAudit:
    """Looks and mends. Raises StoreUnavailable where PostgreSQL is away or too slow."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def conversation(
        self, user: UserId, conversation: ConversationId, *, newest: int, touched: Sequence[int]
    ) -> RecordLook | None:
        """Everything about one conversation, and its `newest` messages; `touched` are numbers to tell of."""
        arguments = (user, conversation, newest, touched)
        rows = await self._fetch("verify_conversation", *arguments)
        if not rows:
            return None
        if (found := _preview_in(rows[0])) is not None:
            return _look(rows[0], found)
        # Silent messages at the end: its preview is further up, which is to be of the same moment.
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                [row] = await connection.fetch(statement("verify_conversation"), *arguments)
                return _look(row, await _find_preview(connection, user, conversation, BIGINT_MAX))

    async def ids(
        self, user: UserId, conversation: ConversationId, ids: Iterable[str], *, from_number: int
    ) -> dict[str, int]:
        """The numbers of messages with these `ids`, and of all from a number on."""
        rows = await self._fetch("verify_ids", user, conversation, list(ids), min(from_number, BIGINT_MAX))
        return {row["id"]: row["sequence_number"] for row in rows}

    async def tombstoned(
        self, user: UserId, conversation: ConversationId, numbers: Iterable[int]
    ) -> set[int]:
        """Which of these numbers are of messages that were deleted."""
        rows = await self._fetch("verify_tombstoned", user, conversation, list(numbers))
        return {row["number"] for row in rows}

    async def walk(self, after: _Owned, *, since_ms: int, limit: int) -> list[_Owned]:
        """The conversations behind `after`, in the order of their key."""
        return _owned(await self._fetch("verify_walk", *after, since_ms, limit))

    async def walk_user(self, after: _Owned, *, since_ms: int, limit: int) -> list[_Owned]:
        """The same within one user."""
        return _owned(await self._fetch("verify_walk_user", *after, since_ms, limit))

    async def count(self, user: UserId | None, *, since_ms: int) -> int:
        """How many conversations a walk would meet."""
        return (await self._fetch("verify_count", user or "", since_ms))[0][0]

    async def known(self, owned: Iterable[_Owned]) -> set[_Owned]:
        """Which of these conversations there are."""
        return set(_owned(await self._fetch("verify_known", *_columns(owned, 2))))

    async def known_users(self, users: Sequence[UserId]) -> set[UserId]:
        """Which of these users have conversations."""
        return {row[0] for row in await self._fetch("verify_known_users", users)}

    async def recorded(self, events: Sequence[ConversationEvent | QueryLogged]) -> list[bool]:
        """For each event, whether the record has taken it in."""
        found = await self._recorded_messages(events)
        removals = await self._recorded_removals(events)
        logs = await self._recorded_logs(events)
        # Last: a delete that is committed in between takes the messages away, and is seen here then.
        conversations = {(e.user_id, e.conversation_id) for e in events if not isinstance(e, QueryLogged)}
        states = {
            (row["user_id"], row["id"]): (row["state_version"], row["deleted"])
            for row in await self._fetch("verify_states", *_columns(sorted(conversations), 2))
        }
        return [_is_recorded(event, states, found, removals, logs) for event in events]

    async def mend(self, user: UserId, conversation: ConversationId, raised: Raised) -> None:
        """Make counts, preview and counters follow from the messages; nothing that is gone stays."""
        async with self._locked(user, conversation) as connection:
            await connection.execute(statement("mend_buried"), user, conversation)
            preview = await _find_preview(connection, user, conversation, BIGINT_MAX) or (None, None)
            await connection.execute(
                statement("mend_conversation"),
                *(user, conversation, *preview),
                *(raised.next_sequence_number, raised.version, raised.epoch),
            )

    async def accept_gaps(self, user: UserId, conversation: ConversationId, gaps: Iterable[range]) -> None:
        """Write down that the messages of these numbers are lost for good."""
        async with self._locked(user, conversation) as connection:
            for gap in gaps:
                await connection.execute(statement("mend_gap"), user, conversation, gap.start, gap.stop - 1)

    async def log_has_the_say(self) -> bool:
        """Whether changes go on the log; else Redis is behind on purpose."""
        return (await self._fetch("verify_holder"))[0][0] == Holder.LOG

    @asynccontextmanager
    async def _locked(self, user: UserId, conversation: ConversationId) -> AsyncGenerator[Connection]:
        """A transaction that holds the conversation's row, as every batch of a persister does first."""
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                await connection.fetch(statement("lock_conversations"), [user], [conversation])
                yield connection

    async def _recorded_messages(
        self, events: Sequence[ConversationEvent | QueryLogged]
    ) -> dict[tuple[str, str, str, int], int | None]:
        wanted = [
            (event.user_id, event.conversation_id, message_id, number)
            for event in events
            for message_id, number in _messages_of(event)
        ]
        rows = await self._fetch("verify_recorded_messages", *_columns(wanted, 4))
        return {
            (row["user_id"], row["conversation_id"], row["id"], row["number"]): row["version"] for row in rows
        }

    async def _recorded_removals(
        self, events: Sequence[ConversationEvent | QueryLogged]
    ) -> set[tuple[str, str, int]]:
        wanted = [
            (event.user_id, event.conversation_id, event.version)
            for event in events
            if isinstance(event, MessageDeleted | ConversationTruncated)
        ]
        if not wanted:
            return set()
        rows = await self._fetch("verify_recorded_removals", *_columns(wanted, 3))
        return {(row["user_id"], row["conversation_id"], row["version"]) for row in rows}

    async def _recorded_logs(self, events: Sequence[ConversationEvent | QueryLogged]) -> set[tuple[str, str]]:
        wanted = [(event.user_id, event.log_id) for event in events if isinstance(event, QueryLogged)]
        if not wanted:
            return set()
        rows = await self._fetch("verify_recorded_logs", *_columns(wanted, 2))
        return {(row["user_id"], row["log_id"]) for row in rows}

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                return await connection.fetch(statement(name), *arguments)


def _is_recorded(
    event: ConversationEvent | QueryLogged,
    states: dict[_Owned, tuple[int, bool]],
    messages: dict[tuple[str, str, str, int], int | None],
    removals: set[tuple[str, str, int]],
    logs: set[tuple[str, str]],
) -> bool:
    if isinstance(event, QueryLogged):
        return (event.user_id, event.log_id) in logs
    owned = event.user_id, event.conversation_id
    state_version, deleted = states.get(owned, (-1, False))
    return deleted or _has(event, state_version, messages, removals)


def _has(
    event: ConversationEvent,
    state_version: int,
    messages: dict[tuple[str, str, str, int], int | None],
    removals: set[tuple[str, str, int]],
) -> bool:
    """Whether a conversation that is not deleted has taken `event` in."""
    owned = event.user_id, event.conversation_id
    match event:
        case ConversationCreated() | ConversationUpdated():
            return state_version >= event.version
        case ConversationDeleted():
            return False
        case MessagesAppended():
            return all((*owned, *message) in messages for message in _messages_of(event))
        case MessageEdited():
            version = messages.get((*owned, event.message_id, event.sequence_number), -1)
            return version is None or version >= event.version
        case MessageDeleted(version=0):
            # Told again of a message that went with others (retelling.py): it has no tombstone of its own.
            return messages.get((*owned, event.message_id, event.sequence_number), -1) is None
        case MessageDeleted() | ConversationTruncated():
            return not removed_numbers(event) or (*owned, event.version) in removals
        case _:
            assert_never(event)


def _messages_of(event: ConversationEvent | QueryLogged) -> list[tuple[str, int]]:
    match event:
        case MessagesAppended():
            return [(str(parse_body(m.body)["id"]), m.sequence_number) for m in event.numbered]
        case MessageEdited() | MessageDeleted():
            return [(event.message_id, event.sequence_number)]
        case _:
            return []


async def _find_preview(
    connection: Connection, user: UserId, conversation: ConversationId, below: int
) -> tuple[str, int] | None:
    while True:
        rows = await connection.fetch(
            statement("newest_messages"), [user], [conversation], [below], _PREVIEW_PAGE
        )
        for row in sorted(rows, key=lambda row: -row["sequence_number"]):
            if (preview := body_preview(row["payload"])) is not None:
                return preview, row["sequence_number"]
        if len(rows) < _PREVIEW_PAGE:
            return None
        below = min(row["sequence_number"] for row in rows)


def _preview_in(row: asyncpg.Record) -> tuple[str, int] | None:
    newest_first = sorted(zip(row["numbers"] or (), row["payloads"] or (), strict=True), reverse=True)
    for number, payload in newest_first:
        if (preview := body_preview(payload)) is not None:
            return preview, number
    return None


def _look(row: asyncpg.Record, own_preview: tuple[str, int] | None) -> RecordLook:
    newest = zip(row["numbers"] or (), row["payloads"] or (), strict=True)
    gaps = zip(row["gap_starts"] or (), row["gap_ends"] or (), strict=True)
    return RecordLook(
        header=header_of(row),
        state_version=row["state_version"],
        preview_sequence=row["preview_sequence"],
        newest=sorted((Numbered(*pair) for pair in newest), key=lambda m: m.sequence_number),
        versions=dict(zip(row["numbers"] or (), row["versions"] or (), strict=True)),
        rows=row["rows_all"],
        rows_untouched=row["rows_untouched"],
        highest=row["highest"],
        buried=row["buried"],
        removed=frozenset(row["removed"] or ()),
        gaps=[range(first, last + 1) for first, last in gaps],
        own_preview=own_preview,
    )


def _owned(rows: Iterable[asyncpg.Record]) -> list[_Owned]:
    return [(UserId(row["user_id"]), ConversationId(row["id"])) for row in rows]


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    listed = list(rows)
    return [[row[i] for row in listed] for i in range(width)]

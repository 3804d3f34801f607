"""Who has the say over conversations, as PostgreSQL keeps it: the log, or the record itself (ADR 0110)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg

from common.domain.errors import StoreUnavailable, TurnlogError
from common.domain.ids import ConversationId, UserId
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.queries import statement

SILENT_SECONDS: Final = 30.0
"""A session that has not been seen for so long is not counted on to come back."""

Address = tuple[UserId, ConversationId]


class Holder(StrEnum):
    """Who has the say; see the migration for what each means."""

    LOG = "log"
    LEAVING = "leaving"
    RECORD = "record"
    RETURNING = "returning"


_WAITING: Final = (
    "The latest of this conversation may be in Redis only, which is away: it is answered when Redis is back"
)
_WAITING_LIST: Final = (
    "The latest of one of these conversations may be in Redis only, which is away: the list is answered when "
    "Redis is back, the other conversations are now"
)


class AuthorityMoved(TurnlogError):
    """A change or a read in the record, while the record has not the say."""


class AwaitsLog(StoreUnavailable):
    """Events of this conversation may be on the log only, and the log is away. Its text is for clients."""


@dataclass(frozen=True, slots=True)
class Term:
    """Who has the say, and the count of the changes that led there."""

    holder: Holder
    number: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a session learns when it shows itself."""

    term: Term
    registered: bool


@dataclass(frozen=True, slots=True)
class Holdout:
    """A session that has not handed over."""

    name: str
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class AuthorityReport:
    """Who has the say and for how long; how many conversations wait for the log; the processes that use
    it, and those among them that are silent."""

    holder: str
    since_seconds: float
    unsettled: int
    sessions: int
    silent_sessions: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What the record must show for an event to be settled: `message` by number, `state` by version,
    `edited` and `removed` by the version of the event, `deleted`."""

    kind: str
    value: int = 0


class AuthorityStore:
    """Reads and moves the authority. Every move is a compare-and-set; raises StoreUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen(self, session: UUID) -> Seen:
        """Show that `session` is there."""
        [row] = await self._fetch("authority_seen", session)
        return Seen(_term(row), row["registered"])

    async def register(
        self, session: UUID, name: str, *, uses: Holder, under: Sequence[Holder]
    ) -> Term | None:
        """Add a session, if one of `under` has the say; the term, or None."""
        rows = await self._fetch("authority_register", session, name, uses, list(under))
        return _term(rows[0]) if rows else None

    async def move(self, term: Term, to: Holder) -> bool:
        """Give the say to `to`; False where `term` is over."""
        async with self._moving() as connection:
            return bool(await connection.fetch(statement("authority_move"), term.holder, term.number, to))

    async def moment(self, term: Term) -> str | None:
        """What names `term`, also beside the same number in another database; None where it is over."""
        rows = await self._fetch("authority_moment", term.holder, term.number)
        return rows[0]["moment"] if rows else None

    async def hand_over(self, session: UUID, term: Term, unsettled: Iterable[Address]) -> bool:
        """Note that `session` uses the log no more, and what it leaves there. False where `term` is over."""
        users, conversations = _columns(unsettled)
        async with self._transaction() as connection:
            done = await connection.fetch(statement("authority_hand_over"), session, term.number)
            if done:
                # What it noted in an earlier term, in which the log kept the say, may be settled since.
                await connection.execute(statement("authority_keep_unsettled"), session, users, conversations)
                await connection.execute(statement("authority_note_unsettled"), session, users, conversations)
        return bool(done)

    async def take(self, term: Term) -> bool:
        """Give the say to the record where every session has handed over in `term`."""
        async with self._moving() as connection:
            taken = await connection.fetch(statement("authority_take"), term.number)
            if taken:
                await connection.execute(statement("authority_forget_handed_over"), term.number)
        return bool(taken)

    async def holdouts(self, term: Term) -> list[Holdout]:
        """Who has not handed over, the longest silent first."""
        rows = await self._fetch("authority_holdouts", term.number)
        return [Holdout(row["name"], row["silent_seconds"]) for row in rows]

    async def close_session(self, session: UUID, unsettled: Iterable[Address]) -> None:
        """End a session, and note what it leaves on the log."""
        users, conversations = _columns(unsettled)
        async with self._transaction() as connection:
            await connection.execute(statement("authority_note_unsettled"), session, users, conversations)
            await connection.execute(statement("authority_close_session"), session)

    async def keep_unsettled(self, session: UUID, unsettled: Iterable[Address]) -> None:
        """Of what `session` handed over, only this is unsettled still."""
        await self._fetch("authority_keep_unsettled", session, *_columns(unsettled))

    async def settled(self, proofs: Sequence[tuple[Address, Proof]]) -> set[int]:
        """The indices of those that the record has."""
        # As they come, each beside its conversation: a conversation has many.
        rows = [(*address, proof.kind, proof.value) for address, proof in proofs]
        columns = [[row[i] for row in rows] for i in range(4)]
        rows = await self._fetch("settled_proofs", *columns)
        return {row["place"] for row in rows}

    async def record_users(self) -> int:
        """How many processes without a log are there."""
        [row] = await self._fetch("authority_live_record_users", SILENT_SECONDS)
        return row["count"]

    async def count_unsettled(self) -> int:
        """How many conversations wait for the log."""
        [row] = await self._fetch("authority_count_unsettled")
        return row["count"]

    async def report(self) -> AuthorityReport:
        """For people."""
        [row] = await self._fetch("authority_report", SILENT_SECONDS)
        return AuthorityReport(**dict(row))

    async def leftovers(self) -> list[UUID]:
        """Sessions that are silent or ended, and may have left something on the log."""
        return [row["id"] for row in await self._fetch("authority_leftovers", SILENT_SECONDS)]

    async def forget(self, sessions: Sequence[UUID]) -> None:
        """Forget silent or ended sessions, whose events are all in the record."""
        await self._fetch("authority_forget_sessions", sessions, SILENT_SECONDS)

    @asynccontextmanager
    async def _moving(self) -> AsyncGenerator[Connection]:
        async with self._transaction() as connection:
            await connection.execute(statement("authority_stand_in_line"))
            yield connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection]:
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(),
            ):
                yield connection

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        with outages():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                return await connection.fetch(statement(name), *arguments)


async def guard_read(connection: Connection, user: UserId, conversation: ConversationId | None) -> None:
    """First in the snapshot of a read of the record: go on only where the record has the say.

    Raises AuthorityMoved; AwaitsLog where the conversation (without one: any of the user's) may have events
    on the log only.
    """
    _check(await connection.fetchrow(statement("authority_guard_read"), user, conversation), conversation)


async def guard_change(connection: Connection, user: UserId, conversation: ConversationId | None) -> None:
    """First in the transaction of a change of the record; as `guard_read`. The say then stays for it."""
    _check(await connection.fetchrow(statement("authority_guard_change"), user, conversation), conversation)


def _check(row: asyncpg.Record | None, conversation: ConversationId | None) -> None:
    if row is None or row["holder"] != Holder.RECORD:
        raise AuthorityMoved("the record has not the say")
    if row["unsettled"]:
        raise AwaitsLog(_WAITING_LIST if conversation is None else _WAITING, retry_after=5.0)


def _term(row: asyncpg.Record) -> Term:
    return Term(Holder(row["holder"]), row["term"])


def _columns(addresses: Iterable[Address]) -> tuple[list[UserId], list[ConversationId]]:
    pairs = sorted(set(addresses))
    return [user for user, _ in pairs], [conversation for _, conversation in pairs]

"""Entries become rows: decode, commit, settle; and what can never be a row is parked, if that is not most."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from common.contract.stream import decode
from common.domain.errors import LogUnavailable, MalformedEvent, StoreUnavailable, UnsupportedVersion
from common.domain.events import ConversationDeleted, ConversationEvent, MessagesAppended, QueryLogged
from common.domain.ids import ConversationId, UserId, parse_conversation_id
from common.postgres.changes import ConversationKey, Recorded
from common.postgres.outages import Verdict, describe, judge, sqlstate_of, took_too_long
from common.postgres.writer import BatchWriter
from common.redis.group import Committed, ConsumerGroup, Entry, Refusal
from services.persister.breaker import Breaker
from services.persister.late import Late
from services.persister.progress import Progress
from services.persister.retrying import retrying
from services.persister.trial import Outcome, Trial

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Readable:
    """An entry and the event that it holds."""

    entry: Entry
    event: ConversationEvent | QueryLogged

    @property
    def recorded(self) -> Recorded:
        return Recorded(self.entry.partition, self.entry.position, self.event)

    def committed(self, moved: Collection[ConversationKey]) -> Committed:
        """What to tell Redis; `moved` are conversations of messages that were given other numbers."""
        # A query is on no conversation's pending list.
        about = None if isinstance(self.event, QueryLogged) else self.event.conversation_id
        user = self.event.user_id
        return Committed(self.entry.position, user, about, moved=(user, about) in moved)


class Recorder:
    """Decides, for each entry: stored, parked, or held back because the breaker is open."""

    def __init__(
        self, writer: BatchWriter, group: ConsumerGroup, progress: Progress, breaker: Breaker, *, by: str
    ) -> None:
        self._writer = writer
        self._group = group
        self._progress = progress
        self._breaker = breaker
        self._by = by
        self._trial = Trial(self._commit, sample=breaker.min_events, hopeless=breaker.is_hopeless)
        self._moved: Collection[ConversationKey] = ()
        self._late = Late()

    async def finish(self) -> None:
        """Wait until all that was recorded is settled, too."""
        await self._late.finish()

    async def give_up(self) -> None:
        """Leave what is not settled by now to whoever claims it."""
        await self._late.give_up()

    async def record(self, entries: Sequence[Entry], held: Sequence[Entry] = ()) -> list[Entry]:
        """Store and settle what PostgreSQL takes, however long it is away; park what it refuses. A part of
        Redis that does not answer is told later.

        Of both, what is still held back afterwards. `held` were refused before and wait for their turn:
        they are tried only where they are among `entries`.
        """
        if self._breaker.is_open:
            await self._breaker.ask_permit()
        outcome = await self._try(entries)
        refused, untried = outcome.refused, outcome.untried
        left = [entry for entry, _ in refused] + untried
        opens = self._breaker.would_open(stored=outcome.stored, refused=len(held) + len(left))
        self._breaker.stored(outcome.stored)
        if not held and not untried and not opens:
            for entry, error in refused:
                await self._late.run([self._park(entry, error)])
            self._breaker.parked(len(refused))
            await self._breaker.close()
            return []
        if left:
            await self._breaker.hold(len(held) + len(left), describe(refused[-1][1]), probed=not held)
        if not opens:
            self._breaker.probe_now()
        return [*held, *left]

    async def _try(self, entries: Sequence[Entry]) -> Outcome[Entry]:
        """Store what can be; those that are no events at all are refused unseen."""
        readable: list[Readable] = []
        unreadable: list[tuple[Entry, Exception]] = []
        for entry in entries:
            try:
                readable.append(Readable(entry, self._event_of(entry)))
            except (UnsupportedVersion, MalformedEvent) as error:
                unreadable.append((entry, error))
        tried = await self._trial.run(readable)
        return Outcome(
            tried.stored,
            [*unreadable, *((item.entry, error) for item, error in tried.refused)],
            [item.entry for item in tried.untried],
        )

    async def _commit(self, items: Sequence[Readable]) -> Exception | None:
        """Commit `items` together and settle them; else why they cannot be."""
        began = time.monotonic()
        error = await self._write(items)
        if error is None:
            self._progress.committed([item.entry.position for item in items], time.monotonic() - began)
            await self._settle(items)
        return error

    async def _write(self, items: Sequence[Readable]) -> Exception | None:
        """Write `items` in one transaction, again and again during an outage.

        None, or why these items cannot be written together: one of them never can, or they are more
        than the statement time-out allows.
        """
        events = [item.recorded for item in items]
        async for attempt in retrying(StoreUnavailable):
            with attempt:
                try:
                    self._moved = await self._writer.write(events)
                except Exception as error:
                    too_much = len(items) > 1 and took_too_long(error)
                    if judge(error) is Verdict.TRANSIENT and not too_much:
                        raise
                    return error
        return None

    async def _settle(self, items: Sequence[Readable]) -> None:
        """Acknowledge. If this is not reached, the entries come again, and change nothing."""
        by_partition: dict[int, list[Committed]] = defaultdict(list)
        for item in items:
            by_partition[item.entry.partition].append(item.committed(self._moved))
        if self._moved:
            log.error("messages_renumbered", conversations=len(self._moved))
        await self._late.run(self._settle_partition(*pair) for pair in by_partition.items())

    async def _settle_partition(self, partition: int, committed: list[Committed]) -> None:
        async for attempt in retrying(LogUnavailable):
            with attempt:
                await self._group.committed(partition, committed)

    def _event_of(self, entry: Entry) -> ConversationEvent | QueryLogged:
        event = decode(entry.fields)
        home = self._group.partition_of(event.user_id)
        if home != entry.partition:
            # Its conversation's keys are elsewhere: neither order nor atomicity would hold.
            raise MalformedEvent(f"it stands in partition {entry.partition}; its user's is {home}")
        return event

    async def _park(self, entry: Entry, error: Exception) -> None:
        refusal = Refusal(
            text=f"{type(error).__name__}: {error}",
            kind=type(error).__name__,
            sqlstate=sqlstate_of(error),
            by=self._by,
        )
        user, conversation = self._whose(entry)
        amends = await self._reserve(entry)
        async for attempt in retrying(LogUnavailable):
            with attempt:
                await self._group.park(entry, refusal, user, conversation, amends=amends)
        log.error(
            "event_parked",
            partition=entry.partition,
            position=entry.position,
            type=entry.fields.get(b"type", b"?")[:40].decode(errors="replace"),
            error=describe(error),
        )

    async def _reserve(self, entry: Entry) -> int | Literal["deleted", ""]:
        """Keep the numbers of an event that is parked from being given again, as far as that can be had.

        How the conversation's header is to be amended then; see `ConsumerGroup.park`.
        """
        try:
            event = self._event_of(entry)
            if isinstance(event, QueryLogged):
                return ""
            if isinstance(event, ConversationDeleted):
                return "deleted"
            async for attempt in retrying(StoreUnavailable):
                with attempt:
                    if await self._writer.reserve(event):
                        return len(event.bodies) if isinstance(event, MessagesAppended) else 0
        except (UnsupportedVersion, MalformedEvent):
            pass  # what it was given cannot be read
        except Exception as error:
            log.warning("numbers_not_reserved", position=entry.position, reason=describe(error))
        return ""

    def _whose(self, entry: Entry) -> tuple[UserId | None, ConversationId | None]:
        """Whose pending list has an entry that cannot be read as an event, as far as it says so."""
        try:
            user = UserId(entry.fields[b"user"].decode())
            conversation = parse_conversation_id(entry.fields[b"conversation"].decode())
        except (KeyError, UnicodeDecodeError):
            return None, None
        if entry.fields.get(b"type") == b"query.logged":
            return None, None
        at_home = self._group.partition_of(user) == entry.partition
        return (user, conversation) if at_home and conversation else (None, None)

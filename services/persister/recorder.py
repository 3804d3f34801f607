"""Entries become rows: decode, commit, settle; and what can never be a row is parked, alone."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from common.contract.stream import decode
from common.domain.errors import LogUnavailable, MalformedEvent, StoreUnavailable, UnsupportedVersion
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import ConversationId, UserId, parse_conversation_id
from common.postgres.changes import Recorded
from common.postgres.outages import Verdict, describe, judge, took_too_long
from common.postgres.writer import BatchWriter
from common.redis.group import Committed, ConsumerGroup, Entry
from services.persister.progress import Progress
from services.persister.retrying import retrying

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Readable:
    """An entry and the event that it holds."""

    entry: Entry
    event: ConversationEvent | QueryLogged

    @property
    def recorded(self) -> Recorded:
        return Recorded(self.entry.partition, self.entry.position, self.event)

    @property
    def committed(self) -> Committed:
        # A query is on no conversation's pending list.
        about = None if isinstance(self.event, QueryLogged) else self.event.conversation_id
        return Committed(self.entry.position, self.event.user_id, about)


class Recorder:
    """Decides, for each entry, one of three outcomes: committed, parked, or tried again until either."""

    def __init__(self, writer: BatchWriter, group: ConsumerGroup, progress: Progress) -> None:
        self._writer = writer
        self._group = group
        self._progress = progress

    async def record(self, entries: Sequence[Entry]) -> None:
        """Return when every entry is committed and settled, or parked, however long a server is away."""
        readable: list[Readable] = []
        for entry in entries:
            try:
                readable.append(Readable(entry, decode(entry.fields)))
            except (UnsupportedVersion, MalformedEvent) as error:
                await self._park(entry, error)
        if readable:
            await self._commit(readable)

    async def _commit(self, items: Sequence[Readable]) -> None:
        """Commit `items`; where they cannot be at once, halve. What cannot be stored alone is parked."""
        began = time.monotonic()
        error = await self._write(items)
        if error is None:
            self._progress.committed([item.entry.position for item in items], time.monotonic() - began)
            await self._settle(items)
        elif len(items) == 1:
            await self._park(items[0].entry, error)
        else:
            middle = len(items) // 2
            await self._commit(items[:middle])
            await self._commit(items[middle:])

    async def _write(self, items: Sequence[Readable]) -> Exception | None:
        """Write `items` in one transaction, again and again during an outage.

        None, or why these items cannot be written together: one of them never can, or they are more
        than the statement time-out allows.
        """
        events = [item.recorded for item in items]
        async for attempt in retrying(StoreUnavailable):
            with attempt:
                try:
                    await self._writer.write(events)
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
            by_partition[item.entry.partition].append(item.committed)
        await asyncio.gather(*(self._settle_partition(*pair) for pair in by_partition.items()))

    async def _settle_partition(self, partition: int, committed: list[Committed]) -> None:
        async for attempt in retrying(LogUnavailable):
            with attempt:
                await self._group.committed(partition, committed)

    async def _park(self, entry: Entry, error: Exception) -> None:
        user, conversation = _whose(entry)
        async for attempt in retrying(LogUnavailable):
            with attempt:
                await self._group.park(entry, f"{type(error).__name__}: {error}", user, conversation)
        log.error(
            "event_parked",
            partition=entry.partition,
            position=entry.position,
            type=entry.fields.get(b"type", b"?")[:40].decode(errors="replace"),
            error=describe(error),
        )


def _whose(entry: Entry) -> tuple[UserId | None, ConversationId | None]:
    """Whose pending list has an entry that cannot be read as an event, as far as it says so."""
    try:
        user = entry.fields[b"user"].decode()
        conversation = parse_conversation_id(entry.fields[b"conversation"].decode())
    except (KeyError, UnicodeDecodeError):
        return None, None
    return (UserId(user), conversation) if user and conversation else (None, None)

"""Verifies the log itself: what the consumer group has settled must be in the record.

An entry that is settled was committed or parked before it was: one look at the log, then one at
PostgreSQL and the dead letters, and what is in neither is lost unless it is written now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.contract.stream import decode
from common.domain.errors import MalformedEvent, UnsupportedVersion
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import Position
from common.postgres.audit import RecordAudit
from common.postgres.changes import Recorded
from common.postgres.outages import Verdict, judge
from common.postgres.writer import BatchWriter
from common.redis.audit import CacheAudit, LogEntry, LogPage
from common.redis.group import Committed, ConsumerGroup
from tools.verify.findings import Finding, Kind
from tools.verify.parked import Parked
from tools.verify.scope import Scope


@dataclass(frozen=True, slots=True)
class _Item:
    entry: LogEntry
    event: ConversationEvent | QueryLogged

    def finding(self, kind: Kind) -> Finding:
        return Finding(
            kind=kind,
            user=self.event.user_id,
            conversation=self.event.conversation_id,
            position=self.entry.entry.position,
        )

    @property
    def settled(self) -> Committed:
        about = None if isinstance(self.event, QueryLogged) else self.event.conversation_id
        return Committed(self.entry.entry.position, self.event.user_id, about)


class LogCheck:
    """Judges and mends pages of the log. Raises the Busy family.

    A consumer that was silent for `silent_ms` is not going to settle what it holds.
    """

    def __init__(
        self,
        cache: CacheAudit,
        record: RecordAudit,
        writer: BatchWriter,
        group: ConsumerGroup,
        parked: Parked,
        *,
        silent_ms: int,
    ) -> None:
        self._cache = cache
        self._record = record
        self._writer = writer
        self._group = group
        self._parked = parked
        self._silent_ms = silent_ms

    async def page(self, partition: int, after: Position, count: int) -> LogPage:
        """The entries behind `after`."""
        return await self._cache.log_page(partition, after, count)

    async def judge(self, partition: int, page: LogPage, scope: Scope) -> tuple[list[Finding], list[_Item]]:
        """What is wrong with a page, and the events to write or to settle."""
        found: list[Finding] = []
        items: list[_Item] = []
        for entry in page.entries:
            try:
                item = _Item(entry, decode(entry.entry.fields))
            except (UnsupportedVersion, MalformedEvent):
                if not entry.held and scope.everything:
                    found.append(Finding(kind=Kind.LOG_UNREADABLE, position=entry.entry.position))
                continue
            if scope.covers(item.event.user_id, item.event.conversation_id):
                items.append(item)
        recorded = await self._record.recorded([item.event for item in items])
        lost = [i for i, known in zip(items, recorded, strict=True) if not known and not i.entry.held]
        unsettled = [i for i, known in zip(items, recorded, strict=True) if known and i.entry.held]
        if lost or found:
            # The letters first: one that is dropped meanwhile is in one of the two.
            dead = await self._parked.positions(partition)
            first, last = page.entries[0].entry.position, page.entries[-1].entry.position
            dead |= await self._parked.void(partition, first, last)
            lost = [item for item in lost if item.entry.entry.position not in dead]
            found = [finding for finding in found if finding.position not in dead]
        if page.silence_ms is None or page.silence_ms < self._silent_ms:
            unsettled = []
        found += [item.finding(Kind.LOG_LOST) for item in lost]
        found += [item.finding(Kind.LOG_UNACKNOWLEDGED) for item in unsettled]
        return found, [*lost, *unsettled]

    async def mend(self, partition: int, items: Sequence[_Item]) -> None:
        """Write lost events to the record, where it can hold them, and settle those that it has."""
        for item in items:
            try:
                if not item.entry.held:
                    await self._writer.write([Recorded(partition, item.entry.entry.position, item.event)])
            except Exception as error:
                if judge(error) is Verdict.TRANSIENT:
                    raise
            else:
                await self._group.committed(partition, [item.settled])

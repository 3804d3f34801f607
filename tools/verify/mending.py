"""Mends what is wrong with a conversation while it is in use.

Nothing is overwritten that has changed since it was looked at: caches are dropped and rebuilt by the one
rebuild, headers and ids are set only where they are still as they were seen, counters only go up, and the
record is changed under the lock that every batch of a persister takes. What cannot be mended now is judged
again, and mended then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from common.domain.errors import ConversationNotFound
from common.domain.ids import UserId
from common.postgres.audit import Raised, RecordAudit
from common.postgres.changes import Recorded
from common.postgres.outages import Verdict, judge
from common.postgres.writer import BatchWriter
from common.rebuild import Rebuilder
from common.redis.audit import CacheAudit, EntryState
from common.redis.keys import Keys
from tools.verify.compare import Evidence, wrong_ids
from tools.verify.conversation import ConversationCheck, Judged
from tools.verify.findings import Finding, Kind
from tools.verify.salvage import Placed, events_of_header, events_of_list, settled_events

PASSES: Final = 6
"""Mending one thing brings the next to light: an event that is recorded, then the header, then the list."""
_RECORD: Final = frozenset(
    {
        *(Kind.RECORD_COUNT, Kind.RECORD_NEXT, Kind.RECORD_PREVIEW, Kind.RECORD_REMAINS, Kind.RECORD_BURIED),
        *(Kind.HEADER_NEXT_AHEAD, Kind.HEADER_VERSION, Kind.HEADER_EPOCH),
    }
)
_PENDING: Final = frozenset(
    {Kind.PENDING_ORPHAN, Kind.PENDING_UNLISTED, Kind.HEADER_EXPIRES, Kind.HEADER_NO_TTL}
)
_HEADER: Final = frozenset(kind for kind in Kind if kind.startswith("header.")) - _PENDING - {
    Kind.HEADER_ORPHAN, Kind.HEADER_MISSING,
}  # fmt: skip
_LIST: Final = frozenset(kind for kind in Kind if kind.startswith("list."))


class Mender:
    """Mends conversations, one at a time each. Raises Undecided and the Busy family."""

    def __init__(
        self,
        check: ConversationCheck,
        *,
        cache: CacheAudit,
        record: RecordAudit,
        writer: BatchWriter,
        rebuilder: Rebuilder,
        keys: Keys,
        accept_loss: bool = False,
    ) -> None:
        self._check = check
        self._cache = cache
        self._record = record
        self._writer = writer
        self._rebuilder = rebuilder
        self._keys = keys
        self._accept_loss = accept_loss

    async def mend(self, judged: Judged) -> list[Finding]:
        """Mend what was `judged`, and what comes to light by it; what is left in the end."""
        for _ in range(PASSES):
            if not judged.found:
                break
            await self._once(judged)
            look = judged.evidence.look
            judged = await self._check.judge(look.user, look.conversation)
        return judged.found

    async def _once(self, judged: Judged) -> None:
        evidence, kinds = judged.evidence, {finding.kind for finding in judged.found}
        look = evidence.look
        user, conversation = look.user, look.conversation
        if await self._complete_record(evidence, kinds):
            return
        if kinds & _RECORD and evidence.record is not None:
            await self._record.mend(user, conversation, _raised(evidence))
        if kinds & _PENDING:
            settled = [w.position for w in look.waiting if w.state in (EntryState.SETTLED, EntryState.GONE)]
            await self._cache.settle(user, conversation, settled)
        if kinds & _HEADER and evidence.expected is not None and not _undeletes(evidence):
            await self._cache.set_header(look, evidence.expected.header)
        if wrong := wrong_ids(evidence):
            await self._cache.set_ids(look, {name: number for name, (_, number) in wrong.items()})
        if kinds & _LIST:
            await self._cache.drop_list(user, conversation)
        if kinds & (_LIST | _HEADER) or Kind.HEADER_MISSING in kinds:
            with suppress(ConversationNotFound):
                await self._rebuilder.conversation(user, conversation)

    async def _complete_record(self, evidence: Evidence, kinds: set[Kind]) -> bool:
        """Write to the record what only Redis has; whether anything was.

        It goes before all else: what is mended in Redis is mended by the record.
        """
        events = [*settled_events(evidence), *events_of_header(evidence, kinds), *events_of_list(evidence)]
        user, conversation = evidence.look.user, evidence.look.conversation
        written = bool(events) and await self._write(user, events)
        if written:
            await self._cache.settle(
                user,
                conversation,
                [w.position for w in evidence.look.waiting if w.state is EntryState.SETTLED],
            )
        elif self._accept_loss and evidence.gaps:
            gaps = [range(number, number + 1) for number in evidence.gaps]
            await self._record.accept_gaps(user, conversation, gaps)
            return True
        return written

    async def _write(self, user: UserId, events: Sequence[Placed]) -> bool:
        partition = self._keys.partition(user)
        try:
            await self._writer.write([Recorded(partition, *pair) for pair in events])
        except Exception as error:
            if judge(error) is Verdict.TRANSIENT:
                raise
            return False
        return True


def _undeletes(evidence: Evidence) -> bool:
    """Whether the record would bring back what Redis knows to be deleted."""
    look, expected = evidence.look, evidence.expected
    return look.header is not None and look.header.deleted and not (expected and expected.header.deleted)


def _raised(evidence: Evidence) -> Raised:
    """The record's counters at least as high as Redis's: what was given is never given again."""
    header = evidence.look.header
    if header is None:
        return Raised()
    return Raised(header.next_sequence_number, header.version, header.epoch)

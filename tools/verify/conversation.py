"""Verifies one conversation while it is in use.

Redis is read first, then PostgreSQL: what is pending is laid over a record that is at least as new. What
looks wrong is believed only if a second look at Redis shows that nothing has happened in between; else all
is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.domain.ids import ConversationId, UserId
from common.domain.overlay import pending_messages
from common.postgres.audit import RecordAudit
from common.redis.audit import CacheAudit, ConversationLook
from tools.verify.compare import Evidence, findings
from tools.verify.expected import expect
from tools.verify.findings import Finding
from tools.verify.parked import Parked

ATTEMPTS: Final = 20
FIRST_PAUSE_SECONDS: Final = 0.002
LONGEST_PAUSE_SECONDS: Final = 0.1


class Undecided(Exception):
    """It changed under every look, or holds a pending event that cannot be read (and will be parked)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is wrong with a conversation, and what was seen of it."""

    found: list[Finding]
    evidence: Evidence


class ConversationCheck:
    """Judges conversations. Raises the Busy family where a server is away."""

    def __init__(self, cache: CacheAudit, record: RecordAudit, parked: Parked) -> None:
        self._cache = cache
        self._record = record
        self._parked = parked

    async def judge(self, user: UserId, conversation: ConversationId) -> Judged:
        """What is wrong with one conversation, for certain. Raises Undecided."""
        pause = FIRST_PAUSE_SECONDS
        for _ in range(ATTEMPTS):
            look = await self._cache.look(user, conversation)
            if look.readable:
                evidence = await self._evidence(look)
                found = findings(evidence)
                if not found or not look.moved(await self._cache.look(user, conversation)):
                    return Judged(found, evidence)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise Undecided

    async def _evidence(self, look: ConversationLook) -> Evidence:
        user, conversation = look.user, look.conversation
        pending = pending_messages(look.events)
        newest = len(look.messages) + 1
        record = await self._record.conversation(user, conversation, newest=newest, touched=pending.touched)
        expected = expect(record, look.events, newest)
        ids: dict[str, int] = {}
        gone = set(pending.hidden)
        if look.header is not None and not look.header.deleted:
            ids = await self._record.ids(user, conversation, look.ids, from_number=look.ids_from)
            unknown = _numbers(look, ids)
            gone |= await self._record.tombstoned(user, conversation, unknown) if unknown else set()
        gaps = record is not None and bool(record.gaps)
        if gaps or _numbers(look, ids) - gone:
            gone |= await self._parked.numbers(user, conversation)
        return Evidence(look, record, expected, ids, frozenset(gone))


def _numbers(look: ConversationLook, known: Mapping[str, int]) -> set[int]:
    """The numbers that Redis's message ids stand for, where the record has no such id."""
    numbers = (value.partition(b" ")[0] for name, value in look.ids.items() if name not in known)
    return {int(number) for number in numbers if number.isdigit()}

"""Where a replay goes, but for a log: the record, the caches, standard output, and nowhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

from pydantic_core import to_json

from common.domain.errors import ConversationNotFound
from common.domain.events import QueryLogged
from common.domain.ids import ConversationId, UserId
from common.postgres.changes import Recorded
from common.postgres.outages import Verdict, describe, judge
from common.postgres.writer import BatchWriter
from common.rebuild import Rebuilder
from common.redis.cache import Cache
from tools.replay.page import Item, Outcome

_REBUILDS_AT_ONCE: Final = 16


class RecordTarget:
    """PostgreSQL, through the persister's own writer.

    `positions` only where the events are of the very log that this record is of: they say how much of it
    PostgreSQL has.
    """

    def __init__(self, writer: BatchWriter, *, positions: bool) -> None:
        self._writer = writer
        self._positions = positions

    async def apply(self, items: Sequence[Item]) -> Outcome:
        outcome, waiting = Outcome(), [list(items)] if items else []
        while waiting:
            part = waiting.pop()
            refused = await self._write(part)
            if refused is None:
                outcome.applied += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += (part[middle:], part[:middle])
            else:
                outcome.refused.append((part[0], refused))
        return outcome

    async def _write(self, items: Sequence[Item]) -> str | None:
        """None, or why these cannot be written together."""
        events = [
            Recorded(i.partition, i.position if self._positions else None, i.event) for i in items if i.event
        ]
        try:
            await self._writer.write(events)
        except Exception as error:
            if judge(error) is Verdict.TRANSIENT:
                raise
            return f"{describe(error)}: {error}"
        return None


class CachesTarget:
    """The caches of the conversations that the events are of: dropped, and made anew by a rebuild."""

    def __init__(self, cache: Cache, rebuilder: Rebuilder) -> None:
        self._cache = cache
        self._rebuilder = rebuilder

    async def apply(self, items: Sequence[Item]) -> Outcome:
        events = [item.event for item in items]
        names = {
            (e.user_id, e.conversation_id) for e in events if e is not None and not isinstance(e, QueryLogged)
        }
        ordered = sorted(names)
        for start in range(0, len(ordered), _REBUILDS_AT_ONCE):
            page = ordered[start : start + _REBUILDS_AT_ONCE]
            await asyncio.gather(*(self._rebuild(*name) for name in page))
        users = sorted({user for user, _ in names})
        for user in users:
            await self._rebuilder.user_list(user)
        return Outcome(applied=len(items))

    async def _rebuild(self, user: UserId, conversation: ConversationId) -> None:
        await self._cache.drop_conversation(user, conversation)
        with suppress(ConversationNotFound):
            await self._rebuilder.conversation(user, conversation)


class OutputTarget:
    """One JSON object a line: the event, behind its partition and position."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def apply(self, items: Sequence[Item]) -> Outcome:
        for item in items:
            if item.event is not None:
                line = {
                    "partition": item.partition,
                    "position": item.position,
                    "event": item.event.model_dump(mode="json"),
                }
                self._out.write(to_json(line).decode() + "\n")
        self._out.flush()
        return Outcome(applied=len(items))


class NowhereTarget:
    """A dry run: counts, and changes nothing. Of users and conversations it keeps a hash each."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._users: set[int] = set()
        self._conversations: set[int] = set()

    async def apply(self, items: Sequence[Item]) -> Outcome:
        for event in (item.event for item in items):
            if event is not None:
                self.kinds[event.type] += 1
                self._users.add(hash(event.user_id))
                if event.conversation_id is not None:
                    self._conversations.add(hash((event.user_id, event.conversation_id)))
        return Outcome()

    def report(self) -> str:
        """The counts, for people."""
        rows = [("users", len(self._users)), ("conversations", len(self._conversations))]
        rows += sorted(self.kinds.items())
        return "\n".join(f"{name:<24}{count:>12,}" for name, count in rows)

"""A log as the target: entries keep their positions there, a record's events get new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from redis.exceptions import ResponseError

from common.contract.stream import encode
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import Position, position_order
from common.redis.commands import Client
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.telling import tell
from tools.replay.page import Item, Outcome

_AT_ONCE: Final = 100
_BYTES_AT_ONCE: Final = 1024 * 1024
"""What one call holds everybody else up with; a single event may be larger, as it was when it came."""


class StreamTarget:
    """A log with as many partitions, on another server. What is there already is found and left alone."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def apply(self, items: Sequence[Item]) -> Outcome:
        outcome = Outcome()
        for item in items:
            refused = await self._add(item, outcome)
            if refused:
                outcome.refused.append((item, refused))
        return outcome

    async def _add(self, item: Item, outcome: Outcome) -> str | None:
        """Add one entry at its own position. Why it cannot be, or None."""
        if item.position is None:
            raise ValueError("only entries of a log have a position")
        events = self._keys.events(item.partition)
        try:
            # Redis refuses a position that is not above all that ever were there: there is no second time.
            await self._client.call("XADD", events, item.position, *item.fields)
        except ResponseError as error:
            if "equal or smaller" not in str(error):
                raise
            return await self._compare(events, item, item.position, outcome)
        outcome.applied += 1
        return None

    async def _compare(self, events: str, item: Item, position: Position, outcome: Outcome) -> str | None:
        found = await self._client.call("XRANGE", events, position, position)
        if found and tuple(found[0][1]) == item.fields:
            outcome.known += 1
            return None
        if found:
            return "the target has another event at this position"
        if await self._was_trimmed(events, position):
            outcome.known += 1
            return None
        return "the target's log goes on behind this position, and does not have it"

    async def _was_trimmed(self, events: str, position: Position) -> bool:
        """Whether the target may have had it: its log begins later, and it has trimmed what was before."""
        flat = await self._client.call("XINFO", "STREAM", events)
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        first = facts[b"first-entry"]
        begins_later = not first or position_order(position) < position_order(Position(first[0].decode()))
        return begins_later and int(facts[b"entries-added"]) > int(facts[b"length"])


class TellingTarget:
    """A log, ours or another instance's, on which a record is told. What is there already is told again: it
    changes nothing where it is taken in (ADR 0062)."""

    def __init__(self, functions: Functions, keys: Keys) -> None:
        self._functions = functions
        self._keys = keys
        self._batch: Sequence[Item] = ()
        self._told = 0

    async def apply(self, items: Sequence[Item]) -> Outcome:
        if items is not self._batch:
            self._batch, self._told = items, 0
        # Called again with the same batch, because the log took no more: go on, or it would fill the log.
        for partition, events in _calls(items[self._told :]):
            await tell(self._functions, self._keys, partition, events)
            self._told += len(events)
        return Outcome(applied=len(items))


def _calls(items: Sequence[Item]) -> Iterator[tuple[int, list[ConversationEvent | QueryLogged]]]:
    """What goes on the log together, in the order of `items`: of one partition, few and not large."""
    together: list[ConversationEvent | QueryLogged] = []
    partition, size = 0, 0
    for item in items:
        if item.event is None:
            raise ValueError("a record has no entries that are no events")
        more = _size(item.event)
        if together and (
            item.partition != partition or len(together) == _AT_ONCE or size + more > _BYTES_AT_ONCE
        ):
            yield partition, together
            together, size = [], 0
        together.append(item.event)
        partition, size = item.partition, size + more
    if together:
        yield partition, together


def _size(event: ConversationEvent | QueryLogged) -> int:
    return sum(map(len, encode(event).values()))

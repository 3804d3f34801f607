"""Another log: entries keep their positions, so that what is there already is found and left alone."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ResponseError

from common.domain.ids import Position, position_order
from common.redis.commands import Client
from common.redis.keys import Keys
from tools.replay.page import Item, Outcome


class StreamTarget:
    """A log with the same number of partitions, on another server."""

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

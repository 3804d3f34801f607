"""The dead letters, as far as they explain what the record lacks."""

from __future__ import annotations

from common.domain.ids import ConversationId, Position, UserId
from common.redis.audit import CacheAudit
from common.redis.keys import Keys


class Parked:
    """Reads the dead letters anew each time: they are few, and asked for only where something is missing."""

    def __init__(self, cache: CacheAudit, keys: Keys) -> None:
        self._cache = cache
        self._keys = keys

    async def positions(self, partition: int) -> set[Position]:
        """Where on the log the dead letters of a partition stood."""
        return set(await self._cache.parked(partition))

    async def void(self, partition: int, first: Position, last: Position) -> set[Position]:
        """Where letters stood that were dropped, or put back at another place; from `first` to `last`."""
        return await self._cache.void(partition, first, last)

    async def numbers(self, user: UserId, conversation: ConversationId) -> set[int]:
        """The sequence numbers of a conversation's parked messages."""
        found: set[int] = set()
        for fields in (await self._cache.parked(self._keys.partition(user))).values():
            about = fields.get(b"user"), fields.get(b"conversation")
            first, count = fields.get(b"first", b""), fields.get(b"n", b"")
            if about == (user.encode(), conversation.encode()) and first.isdigit() and count.isdigit():
                found.update(range(int(first), int(first) + min(int(count), len(fields))))
        return found

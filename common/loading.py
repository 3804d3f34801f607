"""How a read that found nothing cached gets it loaded: once, however many readers wait."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from common.domain.errors import ConversationNotFound, LogRefusesWrites
from common.domain.ids import ConversationId, UserId
from common.rebuild import Rebuilder
from common.redis.cache import PendingRows
from common.redis.misses import Answer
from common.singleflight import SingleFlight


class Asker(Protocol):
    """Asks a cache builder to load a conversation, or (without one) a user's list."""

    async def ask(self, user: UserId, conversation: ConversationId | None) -> Answer: ...


@dataclass(slots=True)
class CacheCounts:
    """How reads were answered since they were last taken away."""

    hits: int = 0
    misses: int = 0

    def take(self) -> tuple[int, int]:
        """Hits and misses since the last call; counting begins anew."""
        taken = self.hits, self.misses
        self.hits = self.misses = 0
        return taken


class Loader:
    """Has conversations and lists loaded by a cache builder, or by this process where none answers.

    When a call returns, what was loaded is no older than the call: the caller reads the cache itself. It
    may find nothing there still, where others keep changing it or Redis has no room.
    """

    def __init__(self, rebuilder: Rebuilder, asker: Asker | None) -> None:
        self._rebuilder = rebuilder
        self._asker = asker
        self._conversations: SingleFlight[tuple[UserId, ConversationId]] = SingleFlight()
        self._lists: SingleFlight[UserId] = SingleFlight()

    async def conversation(self, user: UserId, conversation: ConversationId) -> None:
        """Have a conversation loaded. Raises ConversationNotFound."""
        key = (user, conversation)
        joined = key in self._conversations
        try:
            await self._conversations.run(key, lambda: self._load_conversation(user, conversation))
        except ConversationNotFound:
            if not joined:
                raise
            # That load began before this read; the conversation may have been created since.
            await self._conversations.run(key, lambda: self._load_conversation(user, conversation))

    async def user_list(self, user: UserId) -> None:
        """Have a user's list of conversations loaded."""
        await self._lists.run(user, lambda: self._load_list(user))

    async def pending_rows(self, user: UserId) -> PendingRows:
        """What a reader past the cached list lays over PostgreSQL's answer; to be called before it."""
        return await self._rebuilder.pending_rows(user)

    async def _load_conversation(self, user: UserId, conversation: ConversationId) -> None:
        with suppress(LogRefusesWrites):
            match await self._ask(user, conversation):
                case Answer.LOADED:
                    pass
                case Answer.ABSENT:
                    raise ConversationNotFound(conversation)
                case Answer.NONE:
                    await self._rebuilder.conversation(user, conversation)

    async def _load_list(self, user: UserId) -> None:
        with suppress(LogRefusesWrites):
            if await self._ask(user, None) is Answer.NONE:
                await self._rebuilder.user_list(user)

    async def _ask(self, user: UserId, conversation: ConversationId | None) -> Answer:
        return Answer.NONE if self._asker is None else await self._asker.ask(user, conversation)

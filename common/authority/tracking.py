"""The log, with a trail of what was put on it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.authority.unsettled import Trail, Unsettled
from common.domain.conversations import Header
from common.domain.errors import ConversationDeleted, IdempotencyKeyConflict, LogUnavailable
from common.domain.ids import ConversationId, Position, UserId
from common.postgres.authority import Proof
from common.redis.calls import Cold, Gone, Moved
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.log import CheckIds, EventLog, Receipt, Removed, Taken
from common.redis.message_changes import Intent, Outcome
from common.settings import RedisSettings

_REFUSALS = (Cold, Gone, Moved, CheckIds, Taken, Removed, ConversationDeleted, IdempotencyKeyConflict)


@dataclass(slots=True)
class _Outcome:
    """What a call says of itself: it landed, unless it says that nothing came of it."""

    position: Position | None = None
    proof: Proof | None = None


class TrackingLog(EventLog):
    """EventLog, that notes what it changes in `unsettled`."""

    def __init__(
        self, functions: Functions, keys: Keys, settings: RedisSettings, unsettled: Unsettled
    ) -> None:
        super().__init__(functions, keys, settings)
        self._unsettled = unsettled
        self.away: Callable[[], bool] = lambda: False
        """Whether the log is out of reach by now; whoever knows says so."""

    @property
    def worth_repeating(self) -> bool:
        return not self.away()

    # All that this adds is told by user and conversation: the rest of what is said to the log goes through.

    async def append(self, user: UserId, conversation: ConversationId, *args: Any, **kwargs: Any) -> Receipt:
        with self._tracked(user, conversation) as outcome:
            receipt = await super().append(user, conversation, *args, **kwargs)
            # Also where all were known: whoever put them there may be gone, and now we answer for them.
            if receipt.position is not None:
                outcome.position = receipt.position
                outcome.proof = Proof("message", max(receipt.sequence_numbers))
        return receipt

    async def create(
        self, user: UserId, conversation: ConversationId, *args: Any, **kwargs: Any
    ) -> tuple[Header, bool]:
        with self._tracked(user, conversation) as outcome:
            answer = await super().create(user, conversation, *args, **kwargs)
            outcome.proof = Proof("state", 1)
        return answer

    async def update(self, user: UserId, conversation: ConversationId, *args: Any, **kwargs: Any) -> Header:
        with self._tracked(user, conversation) as outcome:
            header = await super().update(user, conversation, *args, **kwargs)
            outcome.proof = Proof("state", header.version)
        return header

    async def delete(self, user: UserId, conversation: ConversationId, *args: Any, **kwargs: Any) -> Position:
        with self._tracked(user, conversation) as outcome:
            outcome.position = await super().delete(user, conversation, *args, **kwargs)
            outcome.proof = Proof("deleted")
        return outcome.position

    async def _change(
        self, name: str, user: UserId, conversation: ConversationId, intent: Intent, *what: Any
    ) -> Outcome:
        with self._tracked(user, conversation) as tracked:
            outcome = await super()._change(name, user, conversation, intent, *what)
            if outcome.position is not None:
                tracked.position = outcome.position
                # Of a change that somebody made before, only the position is known.
                version = -1 if outcome.repeated else outcome.header.version
                tracked.proof = Proof("edited" if name == "edit" else "removed", version)
        return outcome

    @contextmanager
    def _tracked(self, user: UserId, conversation: ConversationId) -> Generator[_Outcome]:
        unsettled = self._unsettled
        trail: Trail = unsettled.begin((user, conversation))
        outcome = _Outcome()
        conclude: Callable[[Trail], None] = unsettled.unknown
        try:
            yield outcome
            conclude = unsettled.nothing
        except _REFUSALS:
            conclude = unsettled.nothing
            raise
        except LogUnavailable as lost:
            if not lost.outcome_unknown:
                conclude = unsettled.nothing
            raise
        finally:
            if outcome.proof is not None:
                unsettled.landed(trail, outcome.position, outcome.proof)
            else:
                conclude(trail)

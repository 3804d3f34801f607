"""Which events are replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.domain.ids import ConversationId, Position, UserId, position_order
from common.postgres.retelling import FOREVER_MS, Wanted
from common.redis.keys import Keys
from tools.errors import CommandError

LAST_COUNTER = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """All of these together. Times in ms since 1970 UTC, both ends inclusive; None: no bound."""

    partition: int | None = None
    user: UserId | None = None
    conversation: ConversationId | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    first: Position | None = None
    last: Position | None = None

    def partitions(self, keys: Keys) -> list[int]:
        """The partitions that can have any of it. Raises CommandError where none can."""
        if self.partition is not None and not 0 <= self.partition < keys.partitions:
            raise CommandError(f"--partition must be 0 to {keys.partitions - 1}: the log has no other")
        if self.user is None:
            return list(range(keys.partitions)) if self.partition is None else [self.partition]
        home = keys.partition(self.user)
        if self.partition not in (None, home):
            raise CommandError(f"--user {self.user} is in partition {home}; leave --partition away")
        return [home]

    def positions(self) -> tuple[str, str]:
        """The first and the last position that may be selected, as XRANGE takes them."""
        lows = [(self.since_ms or 0, 0), position_order(self.first) if self.first else (0, 0)]
        high = FOREVER_MS if self.until_ms is None else self.until_ms, LAST_COUNTER
        last = high
        if self.last is not None:
            # As Redis reads it: a position without a counter means the whole millisecond.
            whole = self.last if "-" in self.last else Position(f"{self.last}-{LAST_COUNTER}")
            last = position_order(whole)
        return "{}-{}".format(*max(lows)), "{}-{}".format(*min(high, last))

    def has(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether an entry is of the user and the conversation that are wanted, as far as it says."""
        if self.user is not None and fields.get(b"user") != self.user.encode():
            return False
        return self.conversation is None or fields.get(b"conversation") == self.conversation.encode()

    def wanted(self) -> Wanted:
        """The same of the record, where a conversation is as old as its last change."""
        until = FOREVER_MS if self.until_ms is None else self.until_ms
        return Wanted(self.user, self.conversation, self.since_ms or 0, until)

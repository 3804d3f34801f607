"""What a run is to look at."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from common.domain.ids import ConversationId, UserId
from common.redis.keys import Keys


class Scope(BaseModel):
    """All conversations, or some. `since_ms`: modified since; on the log: appended since."""

    model_config = ConfigDict(frozen=True)

    user: UserId | None = None
    conversation: ConversationId | None = None
    partition: int | None = None
    since_ms: int = 0

    @property
    def everything(self) -> bool:
        """Whether no user is left out."""
        return self.user is None

    def covers(self, user: UserId, conversation: ConversationId | None) -> bool:
        """Whether a conversation (or what is of no conversation) is meant."""
        if self.user not in (None, user):
            return False
        return self.conversation in (None, conversation)

    def partitions(self, keys: Keys) -> list[int]:
        """The partitions in which there can be anything."""
        if self.user is not None:
            return [keys.partition(self.user)]
        return list(range(keys.partitions)) if self.partition is None else [self.partition]

    def has(self, user: UserId, keys: Keys) -> bool:
        """Whether anything of `user` is meant."""
        if self.user not in (None, user):
            return False
        return self.partition is None or keys.partition(user) == self.partition

"""What callers say to a publisher and hear from it, whichever store it writes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.domain.conversations import Header
from common.domain.ids import ConversationId, Position
from common.domain.messages import NewMessage


class Unset:
    """The type of UNSET: a field that a caller leaves as it is, where None is a value."""


UNSET: Final = Unset()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's key for one request, and the digest by which another request under it is noticed."""

    key: str
    digest: str


Revise = Callable[[bytes], NewMessage]
"""Makes a message's new body from the one that it has."""


@dataclass(frozen=True, slots=True)
class Edited:
    """An edit's answer: the message as it is now, as served. `position` is None where there is no log, or
    where it was so already; `replayed` where the request's key was used before."""

    message: bytes
    position: Position | None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Truncated:
    """A truncation's answer: the conversation as it is now; the rest as for Edited."""

    header: Header
    position: Position | None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """An append's answer: the messages as stored, and where they stand on the log.

    `known` of them were there before this call. `position` is None where there is no log, or where the
    log no longer tells.
    """

    conversation_id: ConversationId
    messages: list[bytes]
    position: Position | None
    known: int

    @property
    def replayed(self) -> bool:
        """Whether all were there; `position` is then that of the first append, where it is still known."""
        return self.known == len(self.messages)

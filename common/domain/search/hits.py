"""What a search finds, and what is pending and must be laid over the record for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.domain.ids import ConversationId
from common.domain.search.wanted import Place


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found: where, its body, and the title of its conversation."""

    place: Place
    body: bytes
    title: str | None


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits, best first; a cursor where more follow."""

    items: list[Hit]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message as a pending event leaves it, of this version."""

    conversation: ConversationId
    sequence_number: int
    body: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """What the record may not know yet of one user's conversations: which are deleted, which messages are
    gone, which are new or changed; and titles."""

    deleted: list[ConversationId] = field(default_factory=list[ConversationId])
    hidden: list[tuple[ConversationId, int]] = field(default_factory=list[tuple[ConversationId, int]])
    messages: list[PendingMessage] = field(default_factory=list[PendingMessage])
    titles: Mapping[ConversationId, str | None] = field(default_factory=dict[ConversationId, str | None])


ALL_RECORDED = Unrecorded()

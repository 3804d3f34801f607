"""What a gateway needs of its stores: changes, reads of messages, lists, search.

Two implementations: on the log and its caches (`common.publisher`, `history`, `listing`), and on
PostgreSQL alone (`common.direct`). They answer the same: one suite of tests runs over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from common.domain.conversations import Header, State
from common.domain.cursors import ConversationList
from common.domain.ids import ConversationId, MessageId, Position, UserId
from common.domain.messages import NewMessage
from common.domain.paging import Page, Window
from common.domain.parts import Part
from common.domain.publishing import UNSET, Appended, Edited, Idempotency, Revise, Truncated, Unset
from common.domain.search.hits import Hits
from common.domain.search.wanted import Wanted


class PublisherPort(Protocol):
    """Changes one user's conversations. What returns is acknowledged: it will be in PostgreSQL.

    Raises ConversationNotFound (absent, deleted or another user's), ConversationDeleted,
    MessageIdConflict, MessageRemoved, IdempotencyKeyConflict, and the Busy family where a server that is
    needed is away.
    """

    async def create(
        self,
        user: UserId,
        state: State,
        *,
        at_ms: int,
        conversation_id: ConversationId | None = None,
        idempotency: Idempotency | None = None,
    ) -> tuple[Header, bool]:
        """Create a conversation; with True where one with this id was there, which is then the answer."""
        ...

    async def append(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
        title: str | None = None,
    ) -> Appended:
        """Append `messages` to a conversation that is there, all or none. Without a title it gets `title`."""
        ...

    async def append_to_new(
        self,
        user: UserId,
        conversation_id: ConversationId | None,
        state: State,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        """Append `messages`, creating the conversation in the same step where it is not there.

        Without `conversation_id` it gets a fresh one.
        """
        ...

    async def update(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        at_ms: int,
        title: str | Unset | None = UNSET,
        model: str | Unset | None = UNSET,
        metadata: bytes | Unset = UNSET,
    ) -> Header:
        """Change what is set; `metadata` is JSON text."""
        ...

    async def delete(self, user: UserId, conversation: ConversationId, *, at_ms: int) -> Position | None:
        """Delete a conversation for ever. The position is that of the event, where there is a log."""
        ...

    async def wait_persisted(self, user: UserId, appended: Appended, *, within: float) -> bool:
        """Wait until PostgreSQL has these messages; False where it has not `within` seconds."""
        ...


class EditorPort(Protocol):
    """Changes messages that are there. What returns is acknowledged: it will be in PostgreSQL.

    Raises ConversationNotFound (absent, deleted or another user's), MessageNotFound, IdempotencyKeyConflict,
    what `revise` raises, and the Busy family where a server that is needed is away.
    """

    async def edit(
        self,
        user: UserId,
        conversation: ConversationId,
        message_id: MessageId,
        revise: Revise,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Edited:
        """Give a message the body that `revise` makes of its own. One that is so already is left alone."""
        ...

    async def delete(
        self, user: UserId, conversation: ConversationId, message_id: MessageId, *, at_ms: int
    ) -> Position | None:
        """Delete a message for ever; its number stays a gap."""
        ...

    async def truncate(
        self,
        user: UserId,
        conversation: ConversationId,
        after: int,
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Truncated:
        """Delete all messages behind number `after` (-1: all) for ever; their numbers stay gaps."""
        ...


class HistoryPort(Protocol):
    """Reads of one conversation's messages and header.

    Raises ConversationNotFound (absent, deleted or another user's: one answer) and the Busy family.
    """

    async def recent(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        """The newest `limit` messages, oldest first."""
        ...

    async def window(self, user: UserId, conversation: ConversationId, window: Window) -> list[bytes]:
        """The messages of `window`, ascending."""
        ...

    async def page(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        page: int,
        page_size: int,
        descending: bool = False,
    ) -> Page:
        """Page `page` (from 1) of the whole history."""
        ...

    async def part(
        self, user: UserId, conversation: ConversationId, *, after: int = -1, before: int | None = None
    ) -> Part:
        """The next messages between two sequence numbers, both exclusive, as many as a process may hold; read
        past the caches. Without `before`: of those that there are now."""
        ...

    async def header(self, user: UserId, conversation: ConversationId) -> Header:
        """Title, model, times and counts."""
        ...


class ListingPort(Protocol):
    """Reads of the lists of users' conversations. Raises InvalidCursor and the Busy family."""

    async def after_cursor(
        self, user: UserId, *, limit: int, cursor: str | None = None, since_ms: int = 0
    ) -> ConversationList:
        """The user's conversations, last modified first, from `cursor` on."""
        ...

    async def page(self, user: UserId, *, page: int, page_size: int, since_ms: int = 0) -> Page:
        """Page `page` (from 1) of the user's conversations, last modified first."""
        ...

    async def ids(
        self, user: UserId, *, after: ConversationId | None = None, limit: int
    ) -> list[ConversationId]:
        """The user's conversations in the order of their ids, which no change moves; one that was just
        deleted may be among them."""
        ...


class SearchPort(Protocol):
    """Full text search over one user's messages. Raises InvalidCursor and the Busy family."""

    async def find(self, user: UserId, wanted: Wanted, *, limit: int, cursor: str | None = None) -> Hits:
        """The user's messages that `wanted` finds, best first, from `cursor` on."""
        ...

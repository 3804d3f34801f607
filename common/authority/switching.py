"""Conversations on the log while it has the say, in the record while that has it: one face for both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from common.assembly import Conversations
from common.authority.session import ChangingOver, LogSession
from common.domain.conversations import Header, State
from common.domain.cursors import ConversationList
from common.domain.errors import Busy, TurnlogError
from common.domain.ids import ConversationId, Position, UserId
from common.domain.messages import NewMessage
from common.domain.paging import Page
from common.domain.publishing import UNSET, Appended, Idempotency, Unset
from common.postgres.authority import AuthorityMoved, Holder

ATTEMPTS: Final = 3
PATIENCE_SECONDS: Final = 1.0
"""How long a call waits for the say to have moved, before it is answered 503."""

Answer = TypeVar("Answer")


class Switch:
    """Makes each call where the say is at that moment."""

    def __init__(self, session: LogSession, log: Conversations, record: Conversations) -> None:
        self._session = session
        self._log = log
        self._record = record

    async def call(self, method: Callable[[Conversations], Awaitable[Answer]]) -> Answer:
        """`method` of the parts that are in use. Raises ChangingOver, and what it raises."""
        for _ in range(ATTEMPTS):
            if self._session.holder not in (Holder.LOG, Holder.RECORD):
                await self._session.wait_decided(PATIENCE_SECONDS)
            if self._session.holder is not Holder.RECORD:
                return await self._on_log(method)
            try:
                return await method(self._record)
            except AuthorityMoved:
                await self._session.look()
        raise ChangingOver

    async def _on_log(self, method: Callable[[Conversations], Awaitable[Answer]]) -> Answer:
        with self._session.on_log() as session:
            try:
                answer = await method(self._log)
            except Busy:
                raise
            except TurnlogError:
                # "There is no such conversation" is an answer, too.
                await self._session.confirm(session)
                raise
            await self._session.confirm(session)
            return answer


class SwitchingPublisher:
    """Publisher, wherever the say is."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def create(
        self,
        user: UserId,
        state: State,
        *,
        at_ms: int,
        conversation_id: ConversationId | None = None,
        idempotency: Idempotency | None = None,
    ) -> tuple[Header, bool]:
        """See PublisherPort.create."""
        return await self._switch.call(
            lambda parts: parts.publisher.create(
                user, state, at_ms=at_ms, conversation_id=conversation_id, idempotency=idempotency
            )
        )

    async def append(
        self,
        user: UserId,
        conversation: ConversationId,
        messages: Sequence[NewMessage],
        *,
        at_ms: int,
        idempotency: Idempotency | None = None,
    ) -> Appended:
        """See PublisherPort.append."""
        return await self._switch.call(
            lambda parts: parts.publisher.append(
                user, conversation, messages, at_ms=at_ms, idempotency=idempotency
            )
        )

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
        """See PublisherPort.append_to_new."""
        return await self._switch.call(
            lambda parts: parts.publisher.append_to_new(
                user, conversation_id, state, messages, at_ms=at_ms, idempotency=idempotency
            )
        )

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
        """See PublisherPort.update."""
        return await self._switch.call(
            lambda parts: parts.publisher.update(
                user, conversation, at_ms=at_ms, title=title, model=model, metadata=metadata
            )
        )

    async def delete(self, user: UserId, conversation: ConversationId, *, at_ms: int) -> Position | None:
        """See PublisherPort.delete."""
        return await self._switch.call(lambda parts: parts.publisher.delete(user, conversation, at_ms=at_ms))

    async def wait_persisted(self, user: UserId, appended: Appended, *, within: float) -> bool:
        """See PublisherPort.wait_persisted. The append is acknowledged already: a server that has gone away
        since makes the answer False, not an error."""
        try:
            return await self._switch.call(
                lambda parts: parts.publisher.wait_persisted(user, appended, within=within)
            )
        except Busy:
            return False


class SwitchingHistory:
    """History, wherever the say is."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def recent(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        """See HistoryPort.recent."""
        return await self._switch.call(lambda parts: parts.history.recent(user, conversation, limit))

    async def window(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        after: int | None,
        before: int | None,
        limit: int,
    ) -> list[bytes]:
        """See HistoryPort.window."""
        return await self._switch.call(
            lambda parts: parts.history.window(user, conversation, after=after, before=before, limit=limit)
        )

    async def page(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        page: int,
        page_size: int,
        descending: bool = False,
    ) -> Page:
        """See HistoryPort.page."""
        return await self._switch.call(
            lambda parts: parts.history.page(
                user, conversation, page=page, page_size=page_size, descending=descending
            )
        )

    async def header(self, user: UserId, conversation: ConversationId) -> Header:
        """See HistoryPort.header."""
        return await self._switch.call(lambda parts: parts.history.header(user, conversation))


class SwitchingListing:
    """Listing, wherever the say is."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    async def after_cursor(
        self, user: UserId, *, limit: int, cursor: str | None = None, since_ms: int = 0
    ) -> ConversationList:
        """See ListingPort.after_cursor."""
        return await self._switch.call(
            lambda parts: parts.listing.after_cursor(user, limit=limit, cursor=cursor, since_ms=since_ms)
        )

    async def page(self, user: UserId, *, page: int, page_size: int, since_ms: int = 0) -> Page:
        """See ListingPort.page."""
        return await self._switch.call(
            lambda parts: parts.listing.page(user, page=page, page_size=page_size, since_ms=since_ms)
        )

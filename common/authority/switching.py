"""Conversations on the log while it has the say, in the record while that has it: one face for both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar

from common.assembly import Conversations
from common.authority.session import ChangingOver, LogSession
from common.domain.errors import Busy, TurnlogError
from common.domain.ids import UserId
from common.domain.publishing import Appended
from common.postgres.authority import AuthorityMoved, Holder

ATTEMPTS: Final = 3
PATIENCE_SECONDS: Final = 1.0
"""How long a call waits for the say to have moved, before it is answered 503."""

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


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

    def wherever(
        self, method: Callable[[Conversations], Callable[Arguments, Awaitable[Answer]]]
    ) -> Callable[Arguments, CoroutineType[Any, Any, Answer]]:
        """A method of the parts, to be called as theirs is, that makes each call where the say then is."""

        async def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            return await self.call(lambda parts: method(parts)(*args, **kwargs))

        return called

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
    """Publisher, wherever the say is; see PublisherPort."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.create = switch.wherever(lambda parts: parts.publisher.create)
        self.append = switch.wherever(lambda parts: parts.publisher.append)
        self.append_to_new = switch.wherever(lambda parts: parts.publisher.append_to_new)
        self.update = switch.wherever(lambda parts: parts.publisher.update)
        self.delete = switch.wherever(lambda parts: parts.publisher.delete)

    async def wait_persisted(self, user: UserId, appended: Appended, *, within: float) -> bool:
        """See PublisherPort.wait_persisted. The append is acknowledged already: a server that has gone away
        since makes the answer False, not an error."""
        try:
            return await self._switch.call(
                lambda parts: parts.publisher.wait_persisted(user, appended, within=within)
            )
        except Busy:
            return False


class SwitchingEditor:
    """Editor, wherever the say is; see EditorPort."""

    def __init__(self, switch: Switch) -> None:
        self.edit = switch.wherever(lambda parts: parts.editor.edit)
        self.delete = switch.wherever(lambda parts: parts.editor.delete)
        self.truncate = switch.wherever(lambda parts: parts.editor.truncate)


class SwitchingHistory:
    """History, wherever the say is; see HistoryPort."""

    def __init__(self, switch: Switch) -> None:
        self.recent = switch.wherever(lambda parts: parts.history.recent)
        self.window = switch.wherever(lambda parts: parts.history.window)
        self.page = switch.wherever(lambda parts: parts.history.page)
        self.part = switch.wherever(lambda parts: parts.history.part)
        self.header = switch.wherever(lambda parts: parts.history.header)


class SwitchingListing:
    """Listing, wherever the say is; see ListingPort."""

    def __init__(self, switch: Switch) -> None:
        self.after_cursor = switch.wherever(lambda parts: parts.listing.after_cursor)
        self.page = switch.wherever(lambda parts: parts.listing.page)
        self.ids = switch.wherever(lambda parts: parts.listing.ids)


class SwitchingSearch:
    """Search, wherever the say is; see SearchPort."""

    def __init__(self, switch: Switch) -> None:
        self.find = switch.wherever(lambda parts: parts.search.find)

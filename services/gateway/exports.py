"""Exports: one conversation, or all of a user's, whole, in a form for programs, for `import` or for people.

What is held at any time is one part of one conversation, and no connection while a client is slow.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from common.domain.errors import Busy, ConversationNotFound, Overloaded
from common.domain.ids import ConversationId, UserId
from common.domain.parts import Part
from common.ports import HistoryPort, ListingPort
from services.gateway import examples, problems
from services.gateway.conversations import ONE
from services.gateway.export_formats import FORMATS, Format, Parts
from services.gateway.file_names import attachment
from services.gateway.operations import Call, Reply, Success, operation
from services.gateway.queries import ExportQuery
from services.gateway.schemas import ConversationWithMessages, ExportedConversations
from services.gateway.streaming import Stream, in_pieces

TAG: Final = "exports"
IDS_AT_A_TIME: Final = 100
_HEADERS: Final = {"Content-Disposition": "A file name, from the title where there is one."}
_TEXTS: Final = {
    FORMATS["jsonl"].content_type: examples.EXPORTED_LINE,
    "text/markdown": examples.EXPORTED_MARKDOWN,
}

Answer = TypeVar("Answer")


class Exports:
    """A user's conversations as files, at most `most` at a time; each read of one takes `read_seconds`."""

    def __init__(self, history: HistoryPort, listing: ListingPort, *, most: int, read_seconds: float) -> None:
        self._history = history
        self._listing = listing
        self._read_seconds = read_seconds
        self._places = Places(most)

    @operation(
        "GET",
        ONE + "/export",
        summary="Export a conversation",
        tag=TAG,
        query=ExportQuery,
        successes={
            200: Success(
                "It, with all its messages.",
                ConversationWithMessages,
                examples.WITH_MESSAGES,
                _HEADERS,
                texts=_TEXTS,
            )
        },
        problems=(problems.CONVERSATION_NOT_FOUND,),
    )
    async def export_conversation(self, call: Call[ExportQuery]) -> Reply:
        """The messages that there are when the export begins, each as it is when its part is read: what is
        appended later is left out, what is edited or deleted meanwhile may be so in the file. The reply is
        streamed; when something goes wrong on the way, or the conversation is deleted, it is cut off: the
        connection is closed before the last chunk. A client that takes nothing for 30 s is cut off, too."""
        form = FORMATS[call.query.format]
        user, conversation = call.user, call.conversation_id
        with ExitStack() as held:
            held.enter_context(self._places.hold(user))
            first = await self._read(self._history.part(user, conversation))
            name = attachment(f"turnlog-{conversation}", form.extension, title=first.header.state.title)
            texts = form.one(user, self._parts(user, conversation, first))
            return _streamed(form, name, texts, held)

    @operation(
        "GET",
        "/api/export",
        summary="Export all conversations",
        tag=TAG,
        query=ExportQuery,
        successes={
            200: Success(
                "All of them, with all messages.",
                ExportedConversations,
                {"conversations": [examples.WITH_MESSAGES]},
                _HEADERS,
                texts=_TEXTS,
            )
        },
    )
    async def export_all(self, call: Call[ExportQuery]) -> Reply:
        """Every conversation that there is when the export begins, however old, in the order of their ids.
        Each as for one conversation, from when its turn comes; one that is deleted before is left out."""
        form = FORMATS[call.query.format]
        with ExitStack() as held:
            held.enter_context(self._places.hold(call.user))
            conversations = self._conversations(call.user)
            # Read before the reply begins: until then a failure is still a problem and not a cut.
            first = await anext(conversations, None)
            texts = form.all(call.user, _put_back(first, conversations))
            return _streamed(form, attachment("turnlog-export", form.extension), texts, held)

    async def _conversations(self, user: UserId) -> AsyncGenerator[Parts]:
        after: ConversationId | None = None
        while ids := await self._read(self._listing.ids(user, after=after, limit=IDS_AT_A_TIME)):
            for conversation in ids:
                try:
                    first = await self._read(self._history.part(user, conversation))
                except ConversationNotFound:
                    continue  # deleted since
                yield self._parts(user, conversation, first)
            after = ids[-1]

    async def _parts(self, user: UserId, conversation: ConversationId, first: Part) -> AsyncGenerator[Part]:
        before = first.header.next_sequence_number
        part = first
        yield part
        while part.messages and part.messages[-1].sequence_number < before - 1:
            last = part.messages[-1].sequence_number
            part = await self._read(self._history.part(user, conversation, after=last, before=before))
            if part.messages:
                yield part

    async def _read(self, reading: Awaitable[Answer]) -> Answer:
        deadline = asyncio.timeout(self._read_seconds)
        try:
            async with deadline:
                return await reading
        except TimeoutError as error:
            if deadline.expired():
                raise Busy(f"a part of an export took more than {self._read_seconds:g} s") from error
            raise


class Places:
    """Bounds the exports that a process has in progress: `most`, and for each user half of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[UserId] = Counter()

    @contextmanager
    def hold(self, user: UserId) -> Generator[None]:
        """Hold a place. Raises Overloaded."""
        if self._taken.total() >= self._most:
            raise Overloaded("Too many exports are in progress; try again when one is done", retry_after=5)
        if self._taken[user] >= max(1, self._most // 2):
            raise Overloaded("Too many exports of yours are in progress", retry_after=5)
        self._taken[user] += 1
        try:
            yield
        finally:
            self._taken[user] -= 1
            self._taken += Counter()  # forgets who has none


def _streamed(form: Format, disposition: str, texts: AsyncGenerator[bytes], held: ExitStack) -> Reply:
    stream = Stream(in_pieces(texts), held.pop_all().close)
    headers = {"Content-Disposition": disposition}
    return Reply(200, b"", headers, form.content_type, stream)


async def _put_back(first: Parts | None, others: AsyncGenerator[Parts]) -> AsyncGenerator[Parts]:
    if first is not None:
        yield first
    async for other in others:
        yield other

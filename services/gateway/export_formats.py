"""The forms of an export. Stored JSON is passed on as it is; only what is for people is taken apart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Final, Protocol

from pydantic_core import to_json

from common.domain.conversations import Header
from common.domain.ids import UserId
from common.domain.parts import Part
from services.gateway.export_markdown import heading, section
from services.gateway.replies import array

Parts = AsyncGenerator[Part]
"""One conversation's parts; the first is always there, with or without messages."""


class Format(Protocol):
    """How conversations are written."""

    @property
    def content_type(self) -> str: ...

    @property
    def extension(self) -> str: ...

    def one(self, user: UserId, parts: AsyncIterable[Part]) -> AsyncGenerator[bytes]:
        """One conversation."""
        ...

    def all(self, user: UserId, conversations: AsyncIterable[Parts]) -> AsyncGenerator[bytes]:
        """All of a user's, which may be none."""
        ...


class Json:
    """One document: a conversation as it is read over HTTP, with all its messages."""

    content_type = "application/json"
    extension = "json"

    async def one(self, user: UserId, parts: AsyncIterable[Part]) -> AsyncGenerator[bytes]:
        begun = False
        async for part in parts:
            if not begun:
                yield part.header.served()[:-1] + b',"messages":['
            for i, message in enumerate(part.messages):
                yield b"," + message.served if begun or i else message.served
            begun = True
        yield b"]}"

    async def all(self, user: UserId, conversations: AsyncIterable[Parts]) -> AsyncGenerator[bytes]:
        yield b'{"conversations":['
        between = b""
        async for parts in conversations:
            yield between
            async for text in self.one(user, parts):
                yield text
            between = b","
        yield b"]}"


class JsonLines:
    """What `turnlog import` reads: a conversation a line. A long one has a line for each part, whole by
    itself; the import appends them in their order."""

    content_type = "application/x-ndjson"
    extension = "jsonl"

    async def one(self, user: UserId, parts: AsyncIterable[Part]) -> AsyncGenerator[bytes]:
        async for part in parts:
            messages = array([message.served for message in part.messages])
            yield _line_head(user, part.header) + b',"messages":%b}\n' % messages

    async def all(self, user: UserId, conversations: AsyncIterable[Parts]) -> AsyncGenerator[bytes]:
        async for parts in conversations:
            async for line in self.one(user, parts):
                yield line


class Markdown:
    """For people: a heading for the conversation, one for each message, and everything that it holds."""

    content_type = "text/markdown; charset=utf-8"
    extension = "md"

    async def one(self, user: UserId, parts: AsyncIterable[Part]) -> AsyncGenerator[bytes]:
        begun = False
        async for part in parts:
            if not begun:
                yield heading(part.header).encode()
            for message in part.messages:
                yield section(message).encode()
            begun = True

    async def all(self, user: UserId, conversations: AsyncIterable[Parts]) -> AsyncGenerator[bytes]:
        between = b""
        async for parts in conversations:
            yield between
            async for text in self.one(user, parts):
                yield text
            between = b"\n"


def _line_head(user: UserId, header: Header) -> bytes:
    state = header.state
    return b'{"conversation_id":"%b","user_id":%b,"title":%b,"model":%b,"metadata":%b,"created_at":%b' % (
        header.id.encode(),
        to_json(user),
        to_json(state.title),
        to_json(state.model),
        state.metadata,
        to_json(state.created_at),
    )


FORMATS: Final[Mapping[str, Format]] = {"json": Json(), "jsonl": JsonLines(), "markdown": Markdown()}

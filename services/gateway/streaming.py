"""Replies that are made while they are sent, at the client's pace; one that cannot be finished is cut.

A reply that is cut has no last chunk, and its connection is closed: no client takes a part for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Final

from common.domain.errors import TurnlogError

STREAM: Final = "turnlog.stream"
"""Where a request's scope names the stream that its reply is, so that it is closed whatever happens."""
PIECE_BYTES: Final = 64 * 1024

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Cut(Exception):
    """A reply that was begun cannot be finished."""


class Stream:
    """The body of a reply, piece by piece. `free` is called once it is over, however it ends."""

    def __init__(self, pieces: AsyncGenerator[bytes], free: Callable[[], None]) -> None:
        self._pieces = pieces
        self._free = free
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except TurnlogError as error:
            raise Cut(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Give up what is held; again, nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._pieces.aclose()
        finally:
            self._free()


class Delivery:
    """One reply on its way: a streamed one waits for the client, not for ever, nor for one that is gone."""

    __slots__ = ("_gone", "_receive", "_scope", "_send", "_stall_seconds")

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send, *, stall_seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stall_seconds = stall_seconds
        self._gone: asyncio.Task[None] | None = None

    def send(self, event: dict[str, Any]) -> Awaitable[None]:
        """What the application sends. Raises Cut in the midst of a stream."""
        return self._piece(event) if event.get("more_body") else self._send(event)

    async def end(self) -> None:
        """Close the stream that the reply was, if it was one."""
        if self._gone is not None:
            self._gone.cancel()
        if STREAM in self._scope:
            await self._scope[STREAM].close()

    async def _piece(self, event: dict[str, Any]) -> None:
        if self._gone is None:
            self._gone = asyncio.create_task(self._until_gone())
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._send(event)
        except TimeoutError as error:
            raise Cut(f"the client took nothing for {self._stall_seconds:g} s") from error
        # Granian takes what is sent to nobody as sent.
        if self._gone.done():
            raise Cut("the client is gone")

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def in_pieces(texts: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """`texts` put together, and cut into pieces of a size that is sent at once."""
    waiting = bytearray()
    async for text in texts:
        waiting += text
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    if waiting:
        yield bytes(waiting)

"""A TCP proxy on one link, which can be cut, delayed, left half-open, or made to lose answers.

What a half-open link holds back is delivered when it heals, even where the sender has given up by then:
a network does that, too, and a write that arrives after its time-out is what a retry has to survive.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, cast

_CHUNK_BYTES: Final = 64 * 1024


class Direction(Enum):
    """Which way bytes go."""

    REQUESTS = "requests"
    REPLIES = "replies"


@dataclass
class _Way:
    """The state of one direction of the link."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    delay_seconds: float = 0.0
    swallowing: bool = False


class Proxy:
    """Forwards what comes to `port` on 127.0.0.1 to a server there. One proxy is one link."""

    def __init__(self, name: str, server_port: int) -> None:
        self.name = name
        self.port = 0
        self.connections_made = 0
        self.bytes_swallowed = 0
        self.bytes_held = 0
        self._server_port = server_port
        self._ways = {direction: _Way() for direction in Direction}
        self._refusing = False
        self._links = set[_Link]()
        self._server: asyncio.Server | None = None
        self.heal()

    async def start(self) -> None:
        """Listen, on a free port at the first start."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut everything off."""
        if self._server is not None:
            self._server.close()
        await self._end_links()

    def cut(self) -> None:
        """Cut all connections, in the middle of whatever they carry. New ones are taken."""
        for link in list(self._links):
            link.abort()

    def refuse(self) -> None:
        """Cut all connections and every new one, until `heal`."""
        self._refusing = True
        self.cut()

    def delay(self, direction: Direction, seconds: float) -> None:
        """Hold every piece back for `seconds` before it goes on."""
        self._ways[direction].delay_seconds = seconds

    def hold(self, direction: Direction) -> None:
        """Forward nothing that way any more, without a word to either side: half-open."""
        self._ways[direction].open.clear()

    def swallow(self, direction: Direction) -> None:
        """Read and throw away what comes that way. Only a `cut` makes sense after it."""
        self._ways[direction].swallowing = True

    def heal(self) -> None:
        """Forward as if nothing had been. What was swallowed is gone, so those connections are cut."""
        swallowed = any(way.swallowing for way in self._ways.values())
        for way in self._ways.values():
            way.swallowing = False
            way.delay_seconds = 0.0
            way.open.set()
        self._refusing = False
        if swallowed:
            self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_made += 1
        if self._refusing:
            _reset(writer)
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        if self._refusing:  # since we began to connect
            link.abort()
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _end_links(self) -> None:
        links = list(self._links)
        for link in links:
            link.abort()
        for way in self._ways.values():
            way.open.set()
        await asyncio.gather(*(link.ended.wait() for link in links))

    async def pass_on(self, direction: Direction, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        """One piece on its way, under what the link suffers at this moment."""
        way = self._ways[direction]
        if way.delay_seconds:
            await asyncio.sleep(way.delay_seconds)
        self.bytes_held += len(chunk)
        await way.open.wait()
        self.bytes_held -= len(chunk)
        if way.swallowing:
            self.bytes_swallowed += len(chunk)
            return
        writer.write(chunk)
        await writer.drain()


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, client: Pair, server: Pair) -> None:
        self.ended = asyncio.Event()
        self._proxy = proxy
        self._client = client
        self._server = server

    async def run(self) -> None:
        """Forward both ways until both have ended."""
        try:
            await asyncio.gather(
                self._pump(Direction.REQUESTS, self._client[0], self._server[1]),
                self._pump(Direction.REPLIES, self._server[0], self._client[1]),
            )
        finally:
            for _, writer in (self._client, self._server):
                writer.close()
            self.ended.set()

    def abort(self) -> None:
        """Cut both sides off at once: each sees a reset."""
        for _, writer in (self._client, self._server):
            _reset(writer)

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._proxy.pass_on(direction, chunk, writer)
            with suppress(OSError):
                writer.write_eof()
        except (OSError, RuntimeError):
            # A reset passes on as a reset; RuntimeError is a write to what was just aborted.
            self.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Without the option a socket is closed in order, and the other side takes what it has for the whole.
    connection = cast("socket.socket | None", writer.get_extra_info("socket"))
    if connection is None or writer.is_closing():
        return
    with suppress(OSError, ValueError):  # closed at this moment
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""The proxy does to a link what it says, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Direction, Proxy
from tests.waiting import wait_until


class Echo:
    """A server that sends back every line, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
                await writer.drain()
        except OSError:
            pass
        writer.close()


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[Echo, Proxy]]:
    """An echo server behind a proxy."""
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0, limit=1 << 20)
    echo.port = server.sockets[0].getsockname()[1]
    proxy = Proxy("test", echo.port)
    await proxy.start()
    try:
        yield echo, proxy
    finally:
        await proxy.close()
        server.close()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_what_is_sent_arrives_and_an_end_is_an_end() -> None:
    """Without a fault a proxy is a wire; a closed sending side still gets its answers."""
    async with running() as (echo, proxy), connected(proxy) as (reader, writer):
        writer.write(b"x" * 300_000 + b"\n")
        writer.write_eof()
        assert len(await reader.read(-1)) == 300_001
        assert len(echo.heard) == 1


async def test_a_cut_is_a_reset_and_the_next_connection_works() -> None:
    """Both sides notice at once."""
    async with running() as (_, proxy):
        async with connected(proxy) as (reader, writer):
            writer.write(b"one\n")
            assert await reader.readline() == b"one\n"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await reader.readline()
        async with connected(proxy) as (reader, writer):
            writer.write(b"two\n")
            assert await reader.readline() == b"two\n"


async def test_a_link_that_refuses_takes_nobody_until_it_heals() -> None:
    """As if the other machine were gone."""
    async with running() as (echo, proxy):
        proxy.refuse()
        async with connected(proxy) as (reader, writer):
            writer.write(b"lost\n")
            with pytest.raises(ConnectionResetError):
                await reader.readline()
        proxy.heal()
        async with connected(proxy) as (reader, writer):
            writer.write(b"found\n")
            assert await reader.readline() == b"found\n"
        assert echo.heard == [b"found\n"]


@pytest.mark.parametrize("direction", list(Direction))
async def test_half_open_holds_back_and_says_nothing(direction: Direction) -> None:
    """No answer and no error; requests that go through are carried out all the same."""
    async with running() as (echo, proxy), connected(proxy) as (reader, writer):
        proxy.hold(direction)
        writer.write(b"late\n")
        await writer.drain()
        answer = asyncio.ensure_future(reader.readline())
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        assert echo.heard == ([] if direction is Direction.REQUESTS else [b"late\n"])
        proxy.heal()
        assert await answer == b"late\n"


async def test_a_request_held_back_arrives_though_its_sender_has_gone() -> None:
    """The network has it: what the client takes for failed happens later."""
    async with running() as (echo, proxy):
        async with connected(proxy) as (_, writer):
            proxy.hold(Direction.REQUESTS)
            writer.write(b"late\n")
            await writer.drain()
            # The proxy has read it: only then is it the network's.
            await wait_until(lambda: proxy.bytes_held == len(b"late\n"))
        assert echo.heard == []
        proxy.heal()
        await wait_until(lambda: echo.heard == [b"late\n"])


async def test_dropped_replies_are_carried_out_and_never_answered() -> None:
    """Healing cuts the connection: what was swallowed is missing in it."""
    async with running() as (echo, proxy), connected(proxy) as (reader, writer):
        proxy.swallow(Direction.REPLIES)
        writer.write(b"done\n")
        await wait_until(lambda: proxy.bytes_swallowed == len(b"done\n"))
        assert echo.heard == [b"done\n"]
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            await reader.readline()


async def test_a_delay_keeps_the_order() -> None:
    """Late, whole and in order."""
    async with running() as (_, proxy), connected(proxy) as (reader, writer):
        proxy.delay(Direction.REPLIES, 0.05)
        for number in range(20):
            writer.write(b"%d\n" % number)
            await asyncio.sleep(0)
        assert [await reader.readline() for _ in range(20)] == [b"%d\n" % number for number in range(20)]

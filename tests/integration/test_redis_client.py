"""The shared connection: many callers, one write a tick, and what each learns when it breaks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest
from redis.exceptions import ResponseError

from common.domain.errors import LogUnavailable
from common.redis.client import RedisClient
from tests.waiting import wait_until


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    client = RedisClient(redis_url, response_timeout=0.4)
    yield client
    await client.aclose()


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[RedisClient]:
    """Somebody else's connection to the same server."""
    client = RedisClient(redis_url)
    yield client
    await client.aclose()


async def test_each_caller_gets_its_own_reply(client: RedisClient) -> None:
    """A thousand commands under way at once on one connection."""
    replies = await asyncio.gather(*(client.call("ECHO", str(i)) for i in range(1000)))
    assert replies == [str(i).encode() for i in range(1000)]


async def test_an_error_reply_is_the_caller_s_alone(client: RedisClient) -> None:
    """The commands around it in the same write are not touched."""
    good, bad, after = await asyncio.gather(
        client.call("SET", "k", "v"),
        client.call("LPUSH", "k", "x"),
        client.call("GET", "k"),
        return_exceptions=True,
    )
    assert good == b"OK"
    assert isinstance(bad, ResponseError)
    assert after == b"v"


async def test_a_cancelled_caller_does_not_shift_the_replies(client: RedisClient) -> None:
    """Its reply still comes, and is thrown away."""
    await client.call("PING")
    doomed = client.send("ECHO", "nobody's")
    await asyncio.sleep(0)
    follower = client.send("ECHO", "mine")
    doomed.cancel()
    assert await follower == b"mine"
    assert await client.call("ECHO", "next") == b"next"


async def test_a_cut_connection_fails_what_is_under_way_as_unknown(
    client: RedisClient, other: RedisClient
) -> None:
    """Whether a command was carried out, only the server knows; nothing is sent again by itself."""
    await client.call("PING")
    waiting = client.send("BLPOP", "never", 30)
    await asyncio.sleep(0.05)

    await other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    with pytest.raises(LogUnavailable) as lost:
        await waiting
    assert lost.value.outcome_unknown
    assert await client.call("ECHO", "again") == b"again", "the next command connects anew"


async def test_a_silent_server_is_given_up(client: RedisClient, other: RedisClient) -> None:
    """A half-open connection never says so: a reply that is long due ends it."""
    await client.call("PING")
    await other.call("CLIENT", "PAUSE", 1500, "ALL")
    with pytest.raises(LogUnavailable) as lost:
        await client.call("GET", "k")
    assert lost.value.outcome_unknown


async def test_a_frozen_server_is_given_up_though_more_is_to_be_sent() -> None:
    """It takes nothing any more, so a connection that is closed politely would never be closed.

    A stand-in for a frozen server: only one that stops reading at once fills the buffers in time.
    """
    stop = asyncio.Event()

    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"PING" not in (read := await reader.read(65536)):
            writer.write(b"+OK\r\n" * max(1, read.count(b"SETINFO")))
        writer.write(b"+PONG\r\n")
        cast(asyncio.Transport, writer.transport).pause_reading()
        await stop.wait()
        writer.transport.abort()

    async with await asyncio.start_server(freeze, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = RedisClient(f"redis://127.0.0.1:{port}/0", response_timeout=0.4)
        assert await client.call("PING") == b"PONG"
        writes = [client.send("SET", str(i), b"x" * 1_000_000) for i in range(30)]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(result, LogUnavailable) for result in results)
        stop.set()
        await client.aclose()


async def test_a_command_that_cannot_be_sent_shifts_no_reply(client: RedisClient) -> None:
    """It is its caller's error; nobody gets an answer that is somebody else's."""
    await client.call("MSET", "alice", "A", "bob", "B")
    alice = client.send("GET", "alice")
    with pytest.raises(UnicodeEncodeError):
        client.send("GET", "\ud800")
    assert await client.call("GET", "bob") == b"B"
    assert await alice == b"A"


async def test_an_idle_connection_is_not_given_up(client: RedisClient) -> None:
    """No reply is due, so none is late."""
    await client.call("PING")
    await asyncio.sleep(1.0)
    assert await client.call("ECHO", "x") == b"x"


async def test_an_unreachable_server_has_done_nothing() -> None:
    """The caller may try elsewhere, or later."""
    client = RedisClient("redis://127.0.0.1:1/0")
    with pytest.raises(LogUnavailable) as refused:
        await client.call("PING")
    assert not refused.value.outcome_unknown
    await client.aclose()


async def test_a_frozen_server_is_unreachable() -> None:
    """Its kernel still takes connections, but nobody answers the greeting: the wait is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        client = RedisClient(f"redis://:secret@127.0.0.1:{frozen.getsockname()[1]}/0", response_timeout=0.3)
        async with asyncio.timeout(5):
            with pytest.raises(LogUnavailable) as refused:
                await client.call("PING")
        assert not refused.value.outcome_unknown
        await client.aclose()


async def test_a_wrong_password_is_said_plainly(redis_url: str) -> None:
    """And the password itself is not."""
    host = redis_url.rpartition("@")[2]
    client = RedisClient(f"redis://:wrong-secret@{host}")
    with pytest.raises(LogUnavailable, match="password") as refused:
        await client.call("PING")
    assert "wrong-secret" not in str(refused.value)
    await client.aclose()


async def test_a_closed_client_refuses(redis_url: str, other: RedisClient) -> None:
    """What is under way fails, and may have been carried out; what is queued or comes after was not."""
    client = RedisClient(redis_url)
    await client.call("PING")
    under_way = client.send("BLPOP", "never", 30)

    async def is_under_way() -> bool:
        return b"cmd=blpop" in await other.call("CLIENT", "LIST")

    await wait_until(is_under_way)
    queued = client.send("PING")
    await client.aclose()
    for future, unknown in ((under_way, True), (queued, False), (client.send("PING"), False)):
        with pytest.raises(LogUnavailable) as failed:
            await future
        assert failed.value.outcome_unknown == unknown


async def test_a_connection_that_is_reset_while_it_is_greeted_fails_its_callers(redis_url: str) -> None:
    """uvloop says so with a RuntimeError, of its own and no OSError: nobody must wait for an answer for ever.

    When a peer resets is not ours to say to the tick, so what uvloop raises is raised here.
    """
    greetings = 0

    async def admit(_: object) -> None:
        nonlocal greetings
        greetings += 1
        if greetings == 1:
            raise RuntimeError(
                "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
            )

    client = RedisClient(redis_url, admit=admit)
    try:
        async with asyncio.timeout(5):
            with pytest.raises(LogUnavailable):
                await client.call("PING")
            assert await client.call("PING") == b"PONG"
    finally:
        await client.aclose()


async def test_more_commands_than_are_good_for_it_are_refused(
    client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsent; those that wait are answered all the same, and then there is room again."""
    monkeypatch.setattr("common.redis.client.MAX_WAITING", 10)
    waiting = [client.send("ECHO", str(i)) for i in range(10)]
    with pytest.raises(LogUnavailable, match="too many commands") as refused:
        await client.call("ECHO", "eleventh")
    assert not refused.value.outcome_unknown
    assert await asyncio.gather(*waiting) == [str(i).encode() for i in range(10)]
    assert await client.call("ECHO", "again") == b"again"

"""A reply on its way: what ends it, and that whatever it holds is given up then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from common.domain.errors import ConversationNotFound, StoreUnavailable
from services.gateway.streaming import PIECE_BYTES, STREAM, Cut, Delivery, Stream, in_pieces

PIECE = {"type": "http.response.body", "body": b"x", "more_body": True}


async def texts(*sizes: int) -> AsyncGenerator[bytes]:
    for size in sizes:
        yield b"x" * size


async def never() -> Any:
    """A client that is there, and sends and takes nothing."""
    await asyncio.Event().wait()


async def gone() -> Any:
    """A client that is gone."""
    return {"type": "http.disconnect"}


async def take(_: Any) -> None:
    """A client that takes everything."""


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ((), []),
        ((1, 0, 2), [3]),
        ((PIECE_BYTES,), [PIECE_BYTES]),
        ((10, 2 * PIECE_BYTES, 10), [PIECE_BYTES, PIECE_BYTES, 20]),
    ],
)
async def test_texts_are_sent_in_pieces_of_one_size(given: tuple[int, ...], sent: list[int]) -> None:
    """Small ones together, large ones apart: how long a piece may take says how slow a client may be."""
    assert [len(piece) async for piece in in_pieces(texts(*given))] == sent


@pytest.mark.parametrize("error", [ConversationNotFound("c"), StoreUnavailable("away")])
async def test_a_failure_on_the_way_cuts_the_reply(error: Exception) -> None:
    """No handler of errors may answer any more: the head of the reply is on its way."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise error

    stream = Stream(failing(), lambda: None)  # pyright: ignore[reportArgumentType]
    assert await anext(stream) == b"x"  # pyright: ignore[reportArgumentType]
    with pytest.raises(Cut, match=type(error).__name__):
        await anext(stream)  # pyright: ignore[reportArgumentType]


async def test_what_a_stream_holds_is_given_up_once_wherever_it_stands() -> None:
    """Never begun, in the midst, at its end: closed by the delivery, whether or not by the application."""
    for steps in (0, 1, 3):
        freed: list[bool] = []
        stream = Stream(texts(1, 1), lambda freed=freed: freed.append(True))
        for _ in range(steps):
            await anext(aiter(stream), None)
        delivery = Delivery({STREAM: stream}, never, take, stall_seconds=1)
        await delivery.end()
        assert freed == [True]
        await stream.close()
        assert freed == [True]


async def test_a_client_that_takes_nothing_is_waited_for_so_long() -> None:
    """And not for ever; what is no stream is not looked at."""
    delivery = Delivery({}, never, lambda _: never(), stall_seconds=0.01)
    with pytest.raises(Cut, match="nothing for"):
        await asyncio.wait_for(delivery.send(PIECE), 5)
    await delivery.end()


async def test_nothing_more_is_made_for_a_client_that_is_gone() -> None:
    """Granian takes what is sent to nobody as sent."""
    delivery = Delivery({}, gone, take, stall_seconds=10)
    await delivery.send(PIECE)
    await asyncio.sleep(0)
    with pytest.raises(Cut, match="gone"):
        await delivery.send(PIECE)
    await delivery.end()

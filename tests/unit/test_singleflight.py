"""One piece of work for all who wait for it, and no more pieces at a time than are good."""

from __future__ import annotations

import asyncio

import pytest

from common.domain.errors import Busy
from common.singleflight import SingleFlight


async def test_more_pieces_of_work_than_are_good_are_refused() -> None:
    """Those under way are still shared, though whoever asked for them has gone; then there is room again."""
    flight: SingleFlight[str] = SingleFlight(max_running=1)
    done = asyncio.Event()

    async def work() -> None:
        await done.wait()

    async def other() -> None:
        pass

    first = asyncio.create_task(flight.run("a", work))
    await asyncio.sleep(0)
    first.cancel()
    shared = asyncio.create_task(flight.run("a", work))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await flight.run("b", other)
    done.set()
    await shared
    await flight.run("b", other)

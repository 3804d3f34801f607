"""What is told to a part of Redis that does not answer: the rest does not wait for it."""

from __future__ import annotations

import asyncio

import pytest

from services.persister.late import Late


async def test_one_that_takes_long_is_not_waited_for() -> None:
    """It goes on behind the caller's back, until all is waited for, or given up."""
    late, answered, done = Late(patience_seconds=0.01), asyncio.Event(), list[str]()

    async def tell(what: str, when: asyncio.Event) -> None:
        await when.wait()
        done.append(what)

    at_once = asyncio.Event()
    at_once.set()
    async with asyncio.timeout(5):
        await late.run([tell("away", answered), tell("there", at_once)])
        assert done == ["there"]
        answered.set()
        await late.finish()
        assert done == ["there", "away"]
        await late.run([tell("for ever", asyncio.Event())])
        await late.give_up()
    assert done == ["there", "away"]


async def test_a_failure_that_comes_late_is_not_lost() -> None:
    """It is raised by whatever is told next."""
    late, failing = Late(patience_seconds=0.01), asyncio.Event()

    async def fail() -> None:
        await failing.wait()
        raise ValueError("late")

    async with asyncio.timeout(5):
        await late.run([fail()])
        failing.set()
        with pytest.raises(ValueError, match="late"):
            await late.finish()

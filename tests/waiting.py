"""Waiting for something to become true, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def wait_until(
    predicate: Callable[[], bool | Awaitable[bool]],
    *,
    timeout_seconds: float = 15.0,
    interval_seconds: float = 0.02,
    message: str | Callable[[], str] = "the condition",
) -> None:
    """Return as soon as `predicate` is true; fail with `message` when it is not in time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = predicate()
        if result if isinstance(result, bool) else await result:
            return
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"not true within {timeout_seconds:g} s: {text}")
        await asyncio.sleep(interval_seconds)

"""Reads after the end, through every gateway: what must be there now, when nothing is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tests.chaos.history import Operation, Recorder


async def read_finally(
    gateways: Sequence[str],
    *,
    token_for: Callable[[str], str],
    recorder: Recorder,
    operations: Iterable[Operation],
    timeout_seconds: float = 30.0,
) -> None:
    """Read every user's list and every conversation that `operations` know, through each gateway, and record
    it as final. Call it once with the caches as they are, and once after they were dropped."""
    raise NotImplementedError

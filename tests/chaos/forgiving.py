"""Windows in which an acknowledgement is worth nothing, by the configuration that is tested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tests.chaos.history import NO_REPLY, Operation, Outcome

Window = tuple[int, int]


def forgive(operations: Iterable[Operation], windows: Sequence[Window]) -> list[Operation]:
    """Operations as if nobody had been told how those within `windows` (monotonic ns) ended.

    For a server that is told to lose what it acknowledged last: Redis with `appendfsync everysec` whose tail
    is cut off, where PostgreSQL does not have it yet. What was acknowledged or read in a window may then be
    gone, or not; what was acknowledged before it, or is seen after it, is held to every promise.
    """
    return [_untold(o) if any(_within(o, window) for window in windows) else o for o in operations]


def _within(operation: Operation, window: Window) -> bool:
    begin, end = window
    return operation.completed_ns >= begin and operation.invoked_ns <= end


def _untold(operation: Operation) -> Operation:
    if operation.outcome is Outcome.REFUSED:
        return operation
    return replace(operation, outcome=Outcome.UNKNOWN, status=None, reply=NO_REPLY)

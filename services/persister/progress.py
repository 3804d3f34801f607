"""What the persister says of its work: every batch at debug, a summary at info now and then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import structlog

from common.domain.ids import Position, now_ms, position_order

SUMMARY_SECONDS: Final = 10.0
log = structlog.get_logger(__name__)


class Progress:
    """Counts commits. `lag_ms` is how old a batch's oldest event was when it was committed."""

    def __init__(self) -> None:
        self._said_at = 0.0
        self._events = 0
        self._batches = 0
        self._slowest_ms = 0
        self._lag_ms = 0

    def committed(self, positions: Sequence[Position], seconds: float) -> None:
        """A batch of the events at `positions` was committed in `seconds`."""
        milliseconds = round(seconds * 1000)
        lag_ms = now_ms() - min(position_order(position)[0] for position in positions)
        log.debug("batch_committed", events=len(positions), duration_ms=milliseconds, lag_ms=lag_ms)
        self._events += len(positions)
        self._batches += 1
        self._slowest_ms = max(self._slowest_ms, milliseconds)
        self._lag_ms = max(self._lag_ms, lag_ms)
        if time.monotonic() - self._said_at >= SUMMARY_SECONDS:
            self._say()

    def _say(self) -> None:
        log.info(
            "events_committed",
            events=self._events,
            batches=self._batches,
            slowest_batch_ms=self._slowest_ms,
            longest_lag_ms=self._lag_ms,
        )
        self._said_at = time.monotonic()
        self._events = self._batches = self._slowest_ms = self._lag_ms = 0

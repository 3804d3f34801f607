"""What keeps the persister from parking everything: when most events are refused, it is not the events.

The decision comes before anything is parked and needs no memory that a restart could lose: a large batch is
judged by itself, a small one together with what was decided before it, and what was parked before a restart
is found among the dead letters.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog

from common.domain.errors import LogUnavailable
from common.domain.ids import now_ms
from common.redis.breaker import BreakerBoard, OpenBreaker
from common.settings import PersisterSettings

FIRST_PAUSE_SECONDS: Final = 1.0
log = structlog.get_logger(__name__)


class Breaker:
    """Closed: refused events may be parked. Open: they are held, and tried again ever less often."""

    def __init__(
        self,
        settings: PersisterSettings,
        board: BreakerBoard,
        *,
        by: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._board = board
        self._by = by
        self._clock = clock
        self._recent: deque[tuple[float, bool]] = deque(maxlen=settings.breaker_min_events)
        self._opened_ms: int | None = None
        self._permitted = False
        self._stored_since = 0
        self._pause = 0.0
        self._probe_at = 0.0

    @property
    def min_events(self) -> int:
        """How many events it takes to speak of a share."""
        return self._settings.breaker_min_events

    @property
    def is_open(self) -> bool:
        """Whether refused events are held instead of parked."""
        return self._opened_ms is not None

    @property
    def seconds_to_probe(self) -> float:
        """How long what is held may wait until it is tried again."""
        return max(0.0, self._probe_at - self._clock())

    def remember(self, ages_seconds: Iterable[float]) -> None:
        """Take events into account that were parked so long ago, oldest first, before this process began."""
        self._recent.extend((self._clock() - age, True) for age in ages_seconds)

    def stored(self, count: int) -> None:
        """`count` events were stored."""
        if self.is_open:
            self._stored_since += count
        self._decided(count, refused=False)

    def parked(self, count: int) -> None:
        """`count` events were parked."""
        self._decided(count, refused=True)

    def would_open(self, *, stored: int, refused: int) -> bool:
        """Whether `refused` events are so many, beside those `stored`, that it cannot be the events.

        While it is open, all that was stored since counts. To be asked before `stored` and `parked` are told.
        """
        if not self._armed or not refused:
            return False
        stored += self._stored_since
        few = max(0, self._settings.breaker_min_events - stored - refused)
        oldest = self._clock() - self._settings.breaker_window_seconds
        recent = [was_refused for at, was_refused in self._recent if at >= oldest][-few:] if few else []
        total = stored + refused + len(recent)
        share = (refused + sum(recent)) / total
        return total >= self._settings.breaker_min_events and share >= self._settings.breaker_share

    def is_hopeless(self, stored: int, refused: int) -> bool:
        """Whether a sample of a batch says that all of it would open the breaker."""
        share = refused / (stored + refused)
        return self._armed and share >= self._settings.breaker_share

    async def ask_permit(self) -> None:
        """Learn whether an operator has said to park all the same."""
        self._permitted = False
        with suppress(LogUnavailable):
            self._permitted = await self._board.parking_permitted()

    async def hold(self, held: int, error: str, *, probed: bool) -> None:
        """Open, or stay open: `held` events are kept back, the latest refused with `error`."""
        longest = self._settings.breaker_probe_seconds
        if self._opened_ms is None:
            self._opened_ms = now_ms()
            self._pause = min(FIRST_PAUSE_SECONDS, longest)
            self._probe_at = self._clock() + self._pause
            log.critical("breaker_open", held=held, error=error, consequence=_CONSEQUENCE, remedy=_REMEDY)
        elif probed:
            self._pause = min(2 * self._pause, longest)
            self._probe_at = self._clock() + self._pause
            log.warning("breaker_still_open", held=held, error=error, next_try_seconds=self._pause)
        shown = OpenBreaker(self._opened_ms, held, error, self._by)
        with suppress(LogUnavailable):
            await self._board.show(shown, seconds=2 * longest + 30)

    def probe_now(self) -> None:
        """Try what is held without waiting any longer."""
        self._probe_at = self._clock()

    async def close(self) -> None:
        """Nothing is held any more."""
        if self._opened_ms is None:
            return
        log.info("breaker_closed", open_seconds=(now_ms() - self._opened_ms) / 1000)
        self._opened_ms, self._stored_since, self._permitted = None, 0, False
        with suppress(LogUnavailable):
            await self._board.clear()

    @property
    def _armed(self) -> bool:
        return self._settings.breaker_enabled and not self._permitted

    def _decided(self, count: int, *, refused: bool) -> None:
        now = self._clock()
        self._recent.extend((now, refused) for _ in range(min(count, self._recent.maxlen or 0)))


_CONSEQUENCE: Final = (
    "PostgreSQL refuses most events, so none is parked: they wait on the log. What it takes is still written."
)
_REMEDY: Final = (
    "Find out why (`turnlog status`, PostgreSQL's log): a trigger, a constraint, a publisher's new version."
    " When the cause is gone, writing goes on by itself. If these events really are beyond help,"
    " `turnlog dead park` parks them."
)

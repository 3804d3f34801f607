"""When refused events may be parked, and when it cannot be the events."""

from __future__ import annotations

from typing import Any, cast

import pytest

from common.domain.errors import LogUnavailable
from common.redis.breaker import BreakerBoard, OpenBreaker
from common.settings import PersisterSettings
from services.persister.breaker import Breaker


class Board:
    """A board that nobody else looks at."""

    permit = False
    shown: OpenBreaker | None = None

    async def show(self, breaker: OpenBreaker, **_: Any) -> None:
        self.shown = breaker

    async def clear(self) -> None:
        self.shown = None

    async def parking_permitted(self) -> bool:
        return self.permit


class Scene:
    """A breaker, and hands on its clock and its board."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        self.board = Board()
        board = cast(BreakerBoard, self.board)
        self.breaker = Breaker(PersisterSettings(**settings), board, by="test", clock=lambda: self.now)


@pytest.mark.parametrize(
    ("stored", "refused", "opens"),
    [(1000, 0, False), (0, 19, False), (0, 20, True), (10, 10, True), (11, 9, False), (900, 100, False)],
)
def test_the_share_of_a_batch_decides(stored: int, refused: int, opens: bool) -> None:
    """From half on, of at least twenty."""
    assert Scene().breaker.would_open(stored=stored, refused=refused) is opens


def test_a_small_batch_is_judged_with_what_came_before() -> None:
    """A trickle of nothing but poison opens it, too; one poison event after many good ones does not."""
    trickle = Scene().breaker
    for _ in range(19):
        assert not trickle.would_open(stored=0, refused=1)
        trickle.parked(1)
    assert trickle.would_open(stored=0, refused=1)

    healthy = Scene().breaker
    healthy.stored(1000)
    assert not healthy.would_open(stored=0, refused=1)


def test_a_large_batch_is_judged_by_itself() -> None:
    """A million good events before say nothing about what began just now."""
    breaker = Scene().breaker
    breaker.stored(1_000_000)
    assert breaker.would_open(stored=0, refused=20)


def test_what_was_long_ago_does_not_count() -> None:
    """One poison event an hour is parked, however long that goes on."""
    scene = Scene(breaker_window_seconds=600)
    for _ in range(100):
        assert not scene.breaker.would_open(stored=0, refused=1)
        scene.breaker.parked(1)
        scene.now += 3600


def test_a_restart_forgets_nothing() -> None:
    """What was parked before is found among the dead letters."""
    breaker = Scene().breaker
    breaker.remember([30.0] * 19)
    assert breaker.would_open(stored=0, refused=1)


async def test_while_it_is_open_all_that_was_stored_since_counts() -> None:
    """Events that come one by one close it as well as a batch does."""
    breaker = Scene().breaker
    await breaker.hold(20, "an error", probed=True)
    for _ in range(20):
        assert breaker.would_open(stored=1, refused=20)
        breaker.stored(1)
    assert not breaker.would_open(stored=1, refused=20)


async def test_it_probes_ever_less_often() -> None:
    """After 1, 2, 4 … seconds, and no more seldom than it is set to."""
    scene = Scene(breaker_probe_seconds=5)
    pauses: list[float] = []
    for _ in range(5):
        await scene.breaker.hold(20, "an error", probed=True)
        pauses.append(scene.breaker.seconds_to_probe)
    assert pauses == [1, 2, 4, 5, 5]
    await scene.breaker.hold(21, "an error", probed=False)
    assert scene.breaker.seconds_to_probe == 5


async def test_it_can_be_seen_and_is_forgotten_when_closed() -> None:
    """The board says how many are held, since when and why."""
    scene = Scene()
    await scene.breaker.hold(20, "RaiseError P0001", probed=True)
    shown = scene.board.shown
    assert shown is not None
    assert (shown.held, shown.error, shown.by) == (20, "RaiseError P0001", "test")
    await scene.breaker.close()
    assert scene.board.shown is None
    assert not scene.breaker.is_open


async def test_an_operator_can_have_it_park() -> None:
    """By a permit, which is asked for at each probe, or for good by a setting."""
    scene = Scene()
    await scene.breaker.ask_permit()
    assert scene.breaker.would_open(stored=0, refused=100)
    scene.board.permit = True
    await scene.breaker.ask_permit()
    assert not scene.breaker.would_open(stored=0, refused=100)
    assert not scene.breaker.is_hopeless(0, 20)
    assert not Scene(breaker_enabled=False).breaker.would_open(stored=0, refused=100)


async def test_a_redis_that_is_away_is_no_permit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it keep the breaker from opening."""

    async def away(*_: object, **__: object) -> bool:
        raise LogUnavailable("away")

    monkeypatch.setattr(Board, "parking_permitted", away)
    monkeypatch.setattr(Board, "show", away)
    breaker = Scene().breaker
    await breaker.ask_permit()
    await breaker.hold(20, "an error", probed=True)
    assert breaker.is_open
    assert breaker.would_open(stored=0, refused=20)

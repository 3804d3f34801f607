"""Every kind of fault that the nemesis knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.chaos.faults.clocks import ClockJump, no_library
from tests.chaos.faults.fault import Dice, Fault, Kind
from tests.chaos.faults.links import ClientsLeave, Cut, Delay, HalfOpen, LostReplies
from tests.chaos.faults.persisters import Fight
from tests.chaos.faults.postgres import (
    DiskFull,
    ImmediateShutdown,
    RowLocks,
    StatementTimeouts,
    no_small_disk,
)
from tests.chaos.faults.processes import EVERYTHING, Kill, StandStill
from tests.chaos.faults.redis import ComeBackOlder, LoseTail, MemoryFull
from tests.chaos.instance import Instance


def _of(role: str, fault: Callable[[Instance, Dice, str], Fault]) -> Callable[[Instance, Dice], Fault]:
    return lambda instance, dice: fault(instance, dice, role)


KINDS: Final = (
    *(Kind(f"kill-{role}", _of(role, Kill), turns=2) for role in EVERYTHING),
    *(Kind(f"stop-{role}", _of(role, StandStill)) for role in EVERYTHING),
    Kind("postgres-immediate", ImmediateShutdown),
    Kind("postgres-disk-full", DiskFull, no_small_disk),
    Kind("postgres-timeouts", StatementTimeouts),
    Kind("postgres-locks", RowLocks),
    Kind("redis-older", ComeBackOlder, explains=frozenset({"redis_rolled_back"})),
    Kind("redis-tail-lost", LoseTail, explains=frozenset({"redis_rolled_back", "messages_renumbered"})),
    Kind("redis-memory", MemoryFull),
    Kind("link-cut", Cut, link=True),
    Kind("link-delay", Delay, link=True),
    Kind("link-half-open", HalfOpen, link=True),
    Kind("link-lost-replies", LostReplies, link=True),
    Kind("clients-leave", ClientsLeave),
    Kind("persisters-fight", Fight),
    Kind("clock-jump", ClockJump, no_library),
)
DEFAULT: Final = KINDS

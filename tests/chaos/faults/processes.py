"""Processes that are killed, or stand still for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import psutil

from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import ROLES, Instance

SERVERS: Final = ("redis", "postgres")
EVERYTHING: Final = (*ROLES, *SERVERS)
_PART_ONLY: Final = 0.3


def draw_process(instance: Instance, role: str, dice: Dice) -> str:
    """A server, or one of the processes of a service."""
    if role in SERVERS:
        return role
    return dice.random.choice([name for name in instance.services if name.startswith(role)])


class Kill(Fault):
    """`kill -9`, of a process or (a gateway's worker, a server's back end) of a part of it."""

    def __init__(self, instance: Instance, dice: Dice, role: str) -> None:
        self.target = draw_process(instance, role, dice)
        self._instance = instance
        self._part = dice.random.random() < _PART_ONLY and role in ("gateway", "postgres")
        self._which = dice.random.random()

    async def inject(self) -> None:
        family = self._instance.family(self.target)
        if not family:
            raise LookupError(f"{self.target} is not running")
        parts = family[1:]
        if self._part and parts:
            victim = parts[int(self._which * len(parts))]
            self._instance.count_part_kill(self.target)
            self.target = f"{self.target} (process {victim.name()})"
            # PostgreSQL outlives its parts, a gateway its worker; should one end, that is a finding.
            with suppress(psutil.NoSuchProcess):
                victim.kill()
            return
        self._instance.expect_death(self.target)
        family[0].kill()


class StandStill(Fault):
    """SIGSTOP, and SIGCONT after a while: of a server with all its processes, or of one service."""

    def __init__(self, instance: Instance, dice: Dice, role: str) -> None:
        self.target = draw_process(instance, role, dice)
        self.seconds = dice.seconds()
        self._instance = instance
        self._stopped: list[psutil.Process] = []

    async def inject(self) -> None:
        # The first one first: it makes no more processes from then on.
        for process in self._instance.family(self.target):
            stop([process])
            self._stopped.append(process)
        late = [p for p in self._instance.family(self.target) if p not in self._stopped]
        stop(late)
        self._stopped += late

    async def heal(self) -> None:
        wake(self._stopped)


def stop(processes: Iterable[psutil.Process]) -> None:
    """SIGSTOP for those that are there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)


def wake(processes: Iterable[psutil.Process]) -> None:
    """SIGCONT for those that are there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

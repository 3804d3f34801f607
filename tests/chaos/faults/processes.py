"""Processes that are killed, or stand still for a while."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Final

import psutil

from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import ROLES, Instance

SERVERS: Final = ("redis", "postgres")
EVERYTHING: Final = (*ROLES, *SERVERS)
WOKEN_ANYWAY_SECONDS: Final = 30
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
        self._frozen = Frozen(instance, self.target)

    async def inject(self) -> None:
        self._frozen.stop()

    async def heal(self) -> None:
        self._frozen.wake()


class Frozen:
    """All processes of a server or service, stopped by SIGSTOP until `wake`.

    A stopped process does not notice that its parent is gone. Should this process be killed, another one
    wakes them.
    """

    def __init__(
        self, instance: Instance, name: str, *, woken_anyway_seconds: float = WOKEN_ANYWAY_SECONDS
    ) -> None:
        self._instance = instance
        self._name = name
        self._woken_anyway_seconds = woken_anyway_seconds
        self._stopped: list[psutil.Process] = []
        self._waker: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop them: the first one first, since it makes no more from then on; then what it had just made."""
        for _ in range(2):
            for process in self._instance.family(self._name):
                if process not in self._stopped:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGSTOP)
                        self._stopped.append(process)
        pids = " ".join(str(process.pid) for process in self._stopped)
        script = f"sleep {self._woken_anyway_seconds:g}; kill -CONT {pids}"
        self._waker = subprocess.Popen(
            ["sh", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wake(self) -> None:
        """Let them go on."""
        for process in self._stopped:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        if self._waker is not None:
            os.killpg(self._waker.pid, signal.SIGKILL)
            self._waker.wait()
            self._waker = None

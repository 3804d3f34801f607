"""Clocks that jump."""

from __future__ import annotations

from typing import Final

from tests.chaos import clock
from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import Instance

_SMALLEST: Final = 5.0
_LARGEST: Final = 6 * 3600.0


class ClockJump(Fault):
    """The wall clock of one service process jumps by seconds to hours, and back again."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        name = dice.random.choice([name for name in instance.services if name.endswith("-2")])
        offset = _SMALLEST * (_LARGEST / _SMALLEST) ** dice.random.random()
        self._offset = int(dice.random.choice([-1, 1]) * offset)
        self._file = instance.clock_file(name)
        self.target = f"{name} ({self._offset:+,} s)"
        # The library looks at its file once a second.
        self.seconds = 1.0 + dice.seconds(0.5, 6.0)

    async def inject(self) -> None:
        clock.set_offset(self._file, self._offset)

    async def heal(self) -> None:
        clock.set_offset(self._file, 0)


def no_library(_: Instance) -> str | None:
    """Why no clock can be set here."""
    return None if clock.library() else "needs libfaketime (Debian: apt install faketime)"

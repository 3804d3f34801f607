"""What a fault is: begun, healed, named; all that is left to chance is drawn when it is made."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Final

from tests.chaos.instance import Instance
from tests.chaos.losses import Loss

SHORTEST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 12.0


@dataclass
class Dice:
    """The chance in a fault. `longest` bounds how long one lasts, in seconds."""

    random: random.Random
    longest: float = LONGEST_SECONDS

    def seconds(self, low: float = SHORTEST_SECONDS, high: float = LONGEST_SECONDS) -> float:
        """A duration: short ones are as likely as long ones by their magnitude, not by their length."""
        high = max(low, min(high, self.longest))
        return exp(self.random.uniform(log(low), log(high)))


class Fault(ABC):
    """One fault: `target` says what it strikes, `seconds` how long it lasts between inject and heal.

    Healing brings everything back, also where the fault has only half begun.
    """

    target: str
    seconds: float = 0.0
    loss: Loss | None = None
    """What it made Redis lose that nobody else had; known as soon as that is done."""

    @abstractmethod
    async def inject(self) -> None:
        """Let it begin."""

    async def heal(self) -> None:
        """Let it end. A process that was killed is started again by whoever watches it."""
        return


@dataclass(frozen=True)
class Kind:
    """A kind of fault. `impossible` says why it cannot be made of an instance, or nothing."""

    name: str
    make: Callable[[Instance, Dice], Fault]
    impossible: Callable[[Instance], str | None] = lambda _: None
    turns: int = 1
    """How often it comes round while every other kind comes once."""
    explains: frozenset[str] = frozenset()
    """Errors in logs that are as they should be after such a fault."""
    link: bool = False
    """Whether it breaks one link and can strike together with another."""

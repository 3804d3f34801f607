"""What makes a set-up lose what it has acknowledged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weakness:
    """A setting of a server that is weaker than ours: its name, what may happen, and what mends it.

    A `minor` one loses nothing that was acknowledged.
    """

    name: str
    consequence: str
    remedy: str
    minor: bool = False

    def __str__(self) -> str:
        return f"{self.consequence} ({self.remedy})"

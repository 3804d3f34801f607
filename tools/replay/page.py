"""What a source gives and a target takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import Position

Cursor = tuple[str, ...]
"""Where a source goes on, in its own terms; kept in the checkpoint."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event. From the log with its position and its fields as they stand there; `problem` where it is
    none, or none that may stand there."""

    partition: int
    event: ConversationEvent | QueryLogged | None
    cursor: Cursor
    """All up to and with this one is done."""
    position: Position | None = None
    fields: tuple[bytes, ...] = ()
    problem: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        if self.position is not None:
            return f"partition {self.partition}, position {self.position}"
        return f"partition {self.partition}, {' '.join(self.cursor)}"


@dataclass(frozen=True, slots=True)
class Page:
    """`items` are selected, of `read` that were looked at."""

    items: Sequence[Item]
    read: int
    cursor: Cursor


class Source(Protocol):
    """Where events come from, in an order that stays the same."""

    async def total(self) -> int | None:
        """How many there are to be read, at most; None where that would take as long as reading them."""
        ...

    def pages(self, after: Cursor | None) -> AsyncGenerator[Page]:
        """All that was there at the start, behind `after`."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of a batch. `known` were there already, `refused` can never be there."""

    applied: int = 0
    known: int = 0
    refused: list[tuple[Item, str]] = field(default_factory=list[tuple[Item, str]])


class Target(Protocol):
    """Where events go. Doing a batch again changes nothing."""

    async def apply(self, items: Sequence[Item]) -> Outcome:
        """Take a batch, in its order. Raises Busy where the same call may pass later."""
        ...

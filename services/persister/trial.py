"""Finds out which events of a batch PostgreSQL takes, without deciding what becomes of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Write = Callable[[Sequence[Item]], Awaitable[Exception | None]]
"""Stores all of its items, or none and says why not."""


@dataclass(slots=True)
class Outcome(Generic[Item]):
    """What became of a batch. `untried` are left where so many were refused that the rest is no use."""

    stored: int = 0
    refused: list[tuple[Item, Exception]] = field(default_factory=list[tuple[Item, Exception]])
    untried: list[Item] = field(default_factory=list[Item])


class Trial(Generic[Item]):
    """Halves what cannot be stored at once, until what is refused stands alone.

    One poison event of n costs about 2 log2 n transactions, a batch of nothing else 2 n. To be spared that,
    once `sample` events were refused as many others, taken evenly from the rest, are tried alone: if
    `hopeless(stored, refused)` says so of them, the rest is left untried.
    """

    def __init__(self, write: Write[Item], *, sample: int, hopeless: Callable[[int, int], bool]) -> None:
        self._write = write
        self._sample = sample
        self._hopeless = hopeless

    async def run(self, items: Sequence[Item]) -> Outcome[Item]:
        """Try all of `items`, in their order."""
        outcome = Outcome[Item]()
        waiting = [list(items)] if items else []
        sampled = False
        while waiting:
            part = waiting.pop()
            error = await self._write(part)
            if error is None:
                outcome.stored += len(part)
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += (part[middle:], part[:middle])
            else:
                outcome.refused.append((part[0], error))
            if not sampled and len(outcome.refused) >= self._sample:
                sampled = True
                rest = [item for part in reversed(waiting) for item in part]
                rest, hopeless = await self._try_some(rest, outcome)
                if hopeless:
                    outcome.untried = rest
                    break
                waiting = [rest] if rest else []
        return outcome

    async def _try_some(self, rest: list[Item], outcome: Outcome[Item]) -> tuple[list[Item], bool]:
        """Try some of `rest` alone; the others, and whether there is no use in trying them."""
        if len(rest) <= self._sample:
            return rest, False
        step = len(rest) // self._sample
        chosen = set(range(step // 2, len(rest), step))
        stored, refused = 0, 0
        for index in sorted(chosen):
            error = await self._write([rest[index]])
            if error is None:
                stored += 1
            else:
                refused += 1
                outcome.refused.append((rest[index], error))
        outcome.stored += stored
        return [item for i, item in enumerate(rest) if i not in chosen], self._hopeless(stored, refused)

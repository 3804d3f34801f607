"""Which part of a history is asked for; pages over two sorted sequences, one of them read by offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """One page, each item a JSON object, and how many items there are on all pages."""

    items: list[bytes]
    total: int


@dataclass(frozen=True, slots=True)
class Window:
    """Messages between two sequence numbers, both exclusive, ascending: at most `limit`.

    With `after` the first of them; without it the last.
    """

    limit: int
    _: KW_ONLY
    after: int | None = None
    before: int | None = None

    @property
    def of_last(self) -> bool:
        """Whether it is the last that are wanted, where there are more than `limit`."""
        return self.after is None

    def __contains__(self, number: int) -> bool:
        """Whether a message of this number lies between the two."""
        return (self.after is None or number > self.after) and (self.before is None or number < self.before)

    def cut(self, ascending: list[Item]) -> list[Item]:
        """Of all that lie between the two, those that are wanted."""
        return ascending[-self.limit :] if self.of_last else ascending[: self.limit]


def merged_slice(
    stored: Sequence[Item],
    added: Sequence[Item],
    start: int,
    offset: int,
    limit: int,
    *,
    key: Callable[[Item], Any],
    reverse: bool = False,
) -> list[Item]:
    """Items `offset` to `offset + limit` of the sorted union of a stored sequence and a few `added` ones.

    `stored` is the stored sequence from its item `start` = max(0, offset - len(added)) on, at least as
    far as offset + limit; the two have nothing in common. Whatever stands before `stored` in the union
    also stands before `offset`, because at most len(added) others can stand between.
    """
    union = sorted([*stored, *added], key=key, reverse=reverse)
    return union[offset - start : offset - start + limit]

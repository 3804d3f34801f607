"""Pages over two sorted sequences of which only one can be read by offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page:
    """One page, each item a JSON object, and how many items there are on all pages."""

    items: list[bytes]
    total: int


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

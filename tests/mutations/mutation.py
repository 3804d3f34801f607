"""A defence, and the test that must go red without it."""

from dataclasses import dataclass

from tests.mutations.promises import Held


@dataclass(frozen=True)
class Mutation:
    """A defence (`old` in `file`), what is there without it, and the test that must go red.

    `of` says which promises it keeps and which traps it answers; nothing for one that keeps others honest
    (a look of the checker, say).
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    of: tuple[Held, ...] = ()

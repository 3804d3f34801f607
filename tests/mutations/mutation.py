"""A defence, and the test that must go red without it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A defence (`old` in `file`), what is there without it, and the test that must go red."""

    name: str
    file: str
    old: str
    new: str
    test: str

"""docs/promises.md, written from the tables: what holds, what holds it, and the test that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Held, Promise, Trap
from tests.mutations.tree import ROOT

PAGE: Final = ROOT / "docs" / "promises.md"
_HEAD: Final = """# The promises, the traps, and what holds

Each line below names a defence *as it is when it is taken out*, the file that has it, and the test that
goes red then. `python -m tests.mutations` takes out one after the other, in a copy of the tree, and shows
it. A line may stand under several promises. All promises together are tested under faults:
[reliability](reliability.md).

(Made of `tests/mutations/*.py` by `python -m tests.mutations --table`; a test compares the two.)
"""
_OTHERS: Final = "What keeps identity, tools and tests honest, and holds none of the twelve by itself."
_COLUMNS: Final = "| taken out | in | goes red |\n|---|---|---|\n"


def page(lines: Sequence[Mutation]) -> str:
    """The whole page."""
    parts = [_HEAD, f"{len(lines)} defences.\n", "## The promises\n"]
    for number, promise in enumerate(Promise, 1):
        parts += [f"### Promise {number}\n\n{promise.words}\n", _rows(_of(lines, promise))]
    parts.append("## The traps\n")
    for trap in Trap:
        parts += [f"### {_heading(trap.words)}\n\nThe answer: {trap.answer}.\n", _rows(_of(lines, trap))]
    others = [line for line in lines if not line.of]
    if others:
        parts += [f"## Others\n\n{_OTHERS}\n", _rows(others)]
    return "\n".join(parts)


def without_line(lines: Sequence[Mutation]) -> list[Held]:
    """The promises and traps that no line is of."""
    return [held for held in (*Promise, *Trap) if not _of(lines, held)]


def _heading(words: str) -> str:
    return words[0].upper() + words[1:]


def _of(lines: Iterable[Mutation], held: Held) -> list[Mutation]:
    return [line for line in lines if held in line.of]


def _rows(lines: Iterable[Mutation]) -> str:
    return _COLUMNS + "".join(
        f"| {_cell(line.name)} | `{line.file}` | {_test(line.test)} |\n" for line in lines
    )


def _test(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{_cell(name or file)}](../{file})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]")

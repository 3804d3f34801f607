"""Each promise and each trap has a defence that was seen to be needed, and the page about them says so."""

from __future__ import annotations

import ast
from collections import Counter

from tests.mutations.lines import every_line
from tests.mutations.table import PAGE, page, without_line
from tests.mutations.tree import ROOT


def test_every_promise_and_every_trap_has_a_line() -> None:
    """A promise without a defence that a test would miss is a hope."""
    assert [held.words for held in without_line(every_line())] == []


def test_the_page_is_what_the_tables_say() -> None:
    """After a change: `.venv/bin/python -m tests.mutations --table`."""
    assert PAGE.read_text() == page(every_line())


def test_every_defence_is_where_its_line_says() -> None:
    """Once, and its test is there: else the line takes out nothing, and nobody notices."""
    moved = [line.name for line in every_line() if (ROOT / line.file).read_text().count(line.old) != 1]
    lost = [line.test for line in every_line() if not _is_there(line.test)]
    assert (moved, lost) == ([], [])


def test_without_its_defence_a_program_is_a_program_still() -> None:
    """A module that cannot be read fails every test, and shows nothing."""
    for line in every_line():
        if line.file.endswith(".py"):
            ast.parse((ROOT / line.file).read_text().replace(line.old, line.new), line.name)


def test_lines_have_names_of_their_own() -> None:
    """A verdict is told by name."""
    assert [name for name, count in Counter(line.name for line in every_line()).items() if count > 1] == []


def _is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.is_file() and f"def {name.partition('[')[0]}(" in path.read_text() + "def ("

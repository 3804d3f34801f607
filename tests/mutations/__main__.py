"""Takes each defence out, one at a time, and shows that a test goes red.

    .venv/bin/python -m tests.mutations [words of a name …] [--area core …] [--book FILE] [--list]

Each mutation is made in a copy of the tree; it must be found there exactly once, so that a defence that was
moved is noticed. Not part of the suite: it runs the suite's tests many times over. With `--book` each verdict
is kept in a file, and lines that it has as red are not run again: so a run that was stopped goes on. A new
area is a new module here with a MUTATIONS table; docs/promises.md is written from the tables by `--table`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.mutations.book import Book
from tests.mutations.lines import by_area, every_line
from tests.mutations.mutation import Mutation
from tests.mutations.table import PAGE, page
from tests.mutations.tree import Color, Tree


def main(arguments: list[str]) -> int:
    """Do as the command line says; 1 where a test stayed green, or could not be run."""
    options = _options().parse_args(arguments)
    chosen = {
        area: [line for line in lines if all(word in line.name for word in options.words)]
        for area, lines in by_area().items()
        if not options.area or area in options.area
    }
    if options.table:
        PAGE.write_text(page(every_line()))
        return 0
    book = Book(options.book)
    if not options.list:
        _run([line for lines in chosen.values() for line in lines], book)
    return _sum_up(chosen, book)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Take defences out.")
    parser.add_argument("words", nargs="*", help="only lines whose names hold all of these")
    parser.add_argument("--area", action="append", default=[], help="only this module's lines (repeatable)")
    parser.add_argument("--book", type=Path, help="keep verdicts here; do not repeat what is red in it")
    parser.add_argument("--list", action="store_true", help="run nothing, only sum up what the book has")
    parser.add_argument("--table", action="store_true", help="write docs/promises.md and run nothing")
    return parser


def _run(lines: list[Mutation], book: Book) -> None:
    """Run what is not known to be red. Asked to stop, it leaves no tree and no server behind."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="turnlog-mutation-") as directory:
        tree = Tree(Path(directory))
        for line in lines:
            known = book.verdict(line)
            if known is None or known.color is not Color.RED:
                verdict = tree.judge(line)
                book.write(line, verdict)
                say(f"{verdict.color:5} {verdict.seconds:5.1f} s  {line.name}  [{verdict.why or line.test}]")


def _sum_up(chosen: dict[str, list[Mutation]], book: Book) -> int:
    """Print what became of the lines of each area, and of all; 0 when all are red."""
    total: Counter[str] = Counter()
    for area, lines in chosen.items():
        verdicts = [book.verdict(line) for line in lines]
        colors = Counter(verdict.color.value if verdict else "not run" for verdict in verdicts)
        if lines:
            say(f"{area:12} {_counted(colors)}")
        total += colors
    say(f"{'all':12} {_counted(total)}")
    return 0 if total and set(total) == {Color.RED.value} else 1


def _counted(colors: Counter[str]) -> str:
    parts = [f"{colors[name]:3} {name}" for name in (*Color, "not run") if colors[name]]
    return f"{colors.total():3} lines: " + ", ".join(parts)


def say(line: str) -> None:
    """Print a line at once: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

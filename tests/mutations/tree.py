"""A copy of the tree, in which one defence at a time is taken out and its test run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.mutations.mutation import Mutation

ROOT: Final = Path(__file__).resolve().parents[2]
LEFT_BEHIND: Final = (".git", ".venv", ".turnlog", "__pycache__", ".hypothesis", ".pytest_cache")
TEST_SECONDS: Final = 60  # a test that waits for ever without its defence; far above what any takes with it
RUN_SECONDS: Final = 300
FAILED, ERROR = "FAILED ", "ERROR "


class Color(StrEnum):
    """What became of a line."""

    RED = "red"
    GREEN = "green"  # nobody noticed
    ERROR = "error"  # the defence is not there, or the test could not run: nothing is shown


@dataclass(frozen=True)
class Verdict:
    """What a test said without the defence, in its own words, and how long that took."""

    color: Color
    why: str
    seconds: float


class Tree:
    """A copy of this working tree, made once: its compiled modules serve every line."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "tree"
        shutil.copytree(ROOT, self._root, ignore=shutil.ignore_patterns(*LEFT_BEHIND), symlinks=True)

    def judge(self, mutation: Mutation) -> Verdict:
        """Run a line's test without its defence."""
        began = time.monotonic()
        file = self._root / mutation.file
        count = file.read_text().count(mutation.old) if file.is_file() else 0
        if count != 1:
            return Verdict(Color.ERROR, f"{mutation.file} holds the defence {count} times, not once", 0)
        with _replaced(file, mutation.old, mutation.new):
            color, why = self._run(mutation.test)
        return Verdict(color, why, round(time.monotonic() - began, 1))

    def _run(self, test: str) -> tuple[Color, str]:
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        try:
            run = subprocess.run(
                [*command, f"--timeout={TEST_SECONDS}", test],
                cwd=self._root,
                env={**os.environ, "PYTHONPATH": str(self._root), "COLUMNS": "250"},
                capture_output=True,
                text=True,
                check=False,
                timeout=RUN_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Color.ERROR, f"nothing after {RUN_SECONDS} s"
        if run.returncode == 0:
            return Color.GREEN, ""
        lines = run.stdout.splitlines()
        for line in lines:
            if run.returncode == 1 and line.startswith(FAILED):
                return Color.RED, line.removeprefix(FAILED)
        said = [line for line in lines if line.startswith(ERROR)] or [*lines, *run.stderr.splitlines()][-3:]
        return Color.ERROR, " / ".join(said)


@contextmanager
def _replaced(file: Path, old: str, new: str) -> Generator[None]:
    text = file.read_text()
    _write(file, text.replace(old, new))
    try:
        yield
    finally:
        _write(file, text)


def _write(file: Path, text: str) -> None:
    """Write a file and forget what was compiled of it: size and second of both versions may be the same."""
    file.write_text(text)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()

"""`turnlog test`: the whole test suite, or a part of it."""

import os
import sys
from pathlib import Path

import typer

from tools.paths import ROOT


def test(context: typer.Context) -> None:
    """Run the test suite; every argument goes to pytest."""
    arguments = [_from_root(argument) for argument in context.args]
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606


def _from_root(argument: str) -> str:
    """A path is the user's, who may be in another directory; pytest runs in the root."""
    path, separator, rest = argument.partition("::")
    place = Path(path).resolve()
    if argument.startswith("-") or not (place.exists() and place.is_relative_to(ROOT)):
        return argument
    return f"{place}{separator}{rest}"

"""`turnlog chaos`: attack a whole system of its own under load, and judge what its clients saw."""

import os
import sys

import typer

from tools.paths import ROOT


def chaos(context: typer.Context) -> None:
    """Attack a system of its own under load and judge what its clients saw; `--help` has the options."""
    arguments = [
        _from_here(argument, before)
        for before, argument in zip(["", *context.args], context.args, strict=False)
    ]
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(ROOT)
    # The tests have the nemesis, and tools may not import tests.
    os.execv(sys.executable, [sys.executable, "-m", "tests.chaos", *arguments])  # noqa: S606


def _from_here(argument: str, before: str) -> str:
    """A file is where the user is, who may be in another directory than the run."""
    return os.path.abspath(argument) if before == "--json" else argument

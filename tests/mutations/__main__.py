"""Takes each defence out, one at a time, and shows that a test goes red.

    .venv/bin/python -m tests.mutations [words of a name …]

Each mutation is made in a copy of the tree; it must be found there exactly once, so that a defence that was
moved is noticed. Not part of the suite: it runs the suite's tests many times over. A new area is a new
module here with a MUTATIONS table.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests import mutations as tables
from tests.mutations.mutation import Mutation

ROOT: Final = Path(__file__).resolve().parents[2]
LEFT_BEHIND: Final = (".git", ".venv", ".turnlog", "__pycache__", ".hypothesis", ".pytest_cache")


def main(words: list[str]) -> int:
    """Run the mutations whose names hold all `words`; 1 where a test stayed green."""
    chosen = [m for m in _all_mutations() if all(word in m.name for word in words)]
    survived = 0
    for mutation in chosen:
        began = time.monotonic()
        killed = _goes_red(mutation)
        survived += not killed
        verdict = "red  " if killed else "GREEN"
        say(f"{verdict} {time.monotonic() - began:5.1f} s  {mutation.name}  [{mutation.test}]")
    say(f"{len(chosen)} defences taken out, {len(chosen) - survived} noticed, {survived} not noticed")
    return 1 if survived or not chosen else 0


def _all_mutations() -> list[Mutation]:
    """The tables of all modules beside this one."""
    names = sorted(module.name for module in pkgutil.iter_modules(tables.__path__))
    modules = [importlib.import_module(f"{tables.__name__}.{name}") for name in names if name != "__main__"]
    return [mutation for module in modules for mutation in getattr(module, "MUTATIONS", ())]


def say(line: str) -> None:
    """Print a line at once: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _goes_red(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory(prefix="turnlog-mutation-") as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_BEHIND), symlinks=True)
        file = tree / mutation.file
        text = file.read_text()
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.name}: {mutation.file} does not hold the defence exactly once")
        file.write_text(text.replace(mutation.old, mutation.new))
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutation.test]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if run.returncode not in (0, 1):
            raise SystemExit(
                f"{mutation.name}: the test did not run\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
            )
        return run.returncode == 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

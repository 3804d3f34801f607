"""`turnlog lock`: renew the lock files from pyproject.toml."""

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from tools.errors import CommandError
from tools.paths import ROOT

_OPTIONS = (
    # For every platform and Python at once, with the hashes of all their wheels.
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    # Names, versions and hashes only: where packages come from is the machine's business, not the lock's.
    *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"),
)


def lock(
    upgrade: Annotated[
        bool, typer.Option(help="Take the newest versions; else keep what is locked.")
    ] = False,
) -> None:
    """Renew requirements.lock and requirements-dev.lock after a change of pyproject.toml."""
    uv = ROOT / ".venv" / "bin" / "uv"
    program = str(uv) if uv.exists() else shutil.which("uv")
    if program is None:
        raise CommandError("uv is missing; `./turnlog test --version` installs the development packages")
    extra = ["--upgrade"] if upgrade else []
    _compile(program, Path("requirements.lock"), extra)
    # The development lock pins what the other one pins: both go into the same environment.
    _compile(program, Path("requirements-dev.lock"), ["--extra", "dev", "-c", "requirements.lock", *extra])


def _compile(program: str, output: Path, options: list[str]) -> None:
    command = [program, "pip", "compile", "pyproject.toml", *_OPTIONS, *options, "-o", str(output)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise CommandError(f"{output} could not be made")
    print(f"wrote {output}")

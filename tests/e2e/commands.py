"""One command of the command line, run to its end."""

import os
import subprocess

from tests.instances import turnlog
from tools.paths import ROOT


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.run(
        turnlog(*arguments), capture_output=True, text=True, check=False, timeout=60, env=variables, cwd="/"
    )

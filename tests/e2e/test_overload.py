"""Ten times what PostgreSQL can take, and PostgreSQL away, for seconds. `tests.chaos` has the long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tools.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EVENTS: Final = 10
OVERLOAD: Final = ("--minutes", "0.25", "--drain", "10", "--appends", "60", "--max-events", str(EVENTS))


def found_by(module: str, directory: Path, *options: str) -> dict[str, Any]:
    """What a command found that ended well."""
    found = directory / "found.json"
    command = [sys.executable, "-m", module, *options, "--json", str(found)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    return json.loads(found.read_bytes())


def test_an_overload_is_refused_and_what_was_not_is_kept(tmp_path: Path) -> None:
    """The backlog keeps to its bound; what was acknowledged, and only that, is in PostgreSQL afterwards."""
    found = found_by("tests.chaos.overload", tmp_path, *OVERLOAD)
    assert found["refused"] > 0
    assert found["acknowledged"] > 0
    assert found["most_events"] <= EVENTS * 10
    assert not any(found["wrong"].values())
    assert found["parked"] == 0

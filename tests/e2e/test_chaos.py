"""A minute of every kind of fault that is possible here. `./turnlog chaos` has the long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tools.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SEED: Final = 20261121
# Faults of at most a second and a half, so that as many as possible come round in a minute.
OPTIONS: Final = ("--minutes", "0.9", "--longest", "1.5", "--clients", "12", "--pace", "80")


def test_the_promises_hold_through_a_minute_of_faults(tmp_path: Path) -> None:
    """Nothing lost, twice, stale, out of order, back from the dead or another user's; nothing parked, no
    process that ended by itself; and after every fault the system got well.
    """
    found = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "tests.chaos", *OPTIONS, "--seed", str(SEED), "--json", str(found)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    result: dict[str, Any] = json.loads(found.read_bytes())
    assert result["passed"]
    assert not any(result["violations"].values())
    # A run in which little happened shows little.
    assert len(result["faults"]) >= 5
    assert sum(result["kills"].values()) >= 2
    assert result["events"] >= 300

"""The house rules that a machine can check."""

import re
import tomllib

import pytest

from tools.paths import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_names_versions_and_hashes_only(name: str) -> None:
    """No address: where packages come from is the machine's business."""
    text = (ROOT / name).read_text()
    requirement = r"[A-Za-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\"
    line = re.compile(rf"{requirement}|    --hash=sha256:[0-9a-f]{{64}}( \\)?")
    assert [found for found in text.splitlines() if not line.fullmatch(found)] == []


def test_the_development_lock_holds_the_other_one() -> None:
    """Both are installed into one environment, so what they share must be the same versions."""
    runtime, development = (set(_pins((ROOT / name).read_text())) for name in LOCKS)
    assert runtime < development


def test_every_dependency_is_locked() -> None:
    """`./turnlog lock` was not forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[><=~!; ]", requirement)[0].lower().replace("_", "-") for requirement in needed}
    locked = {pin.partition("==")[0] for pin in _pins((ROOT / LOCKS[1]).read_text())}
    assert names <= locked


def _pins(text: str) -> list[str]:
    return re.findall(r"^([A-Za-z0-9._-]+==[^\s;]+)", text, re.MULTILINE)

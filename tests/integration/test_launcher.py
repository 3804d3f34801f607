"""`./turnlog`, the shell script: it makes its environment once, whole, and then stays out of the way."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment import is_whole
from tools.paths import ROOT

FAKE_TOOLS = "import os, sys\nprint(os.getcwd(), *sys.argv[1:])\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the launcher whose lock files are empty, so that making its environment takes no download.

    Its command line prints where it is and what it was given.
    """
    return _copy_launcher(tmp_path / "a checkout")


@pytest.fixture(scope="module")
def used_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, after its first use."""
    root = _copy_launcher(tmp_path_factory.mktemp("used") / "a checkout")
    assert "making the environment" in run(root / "turnlog").stderr
    return root


def _copy_launcher(root: Path) -> Path:
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "turnlog", root / "turnlog")
    shutil.copy(ROOT / "tools" / "environment.py", root / "tools" / "environment.py")
    (root / "tools" / "__main__.py").write_text(FAKE_TOOLS)
    for name in ("requirements.lock", "requirements-dev.lock"):
        (root / name).write_text("")
    return root


def run(launcher: Path, *arguments: str, cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    """Run the launcher with almost no environment."""
    process = start(launcher, *arguments, cwd=cwd)
    output, errors = process.communicate(timeout=100)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(launcher: Path, *arguments: str, cwd: Path | str = "/") -> subprocess.Popen[str]:
    """Start it only."""
    environment = {"PATH": os.environ["PATH"], "TURNLOG_PYTHON": sys.executable}
    command = [launcher, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment
    )


def test_it_works_from_any_directory_and_through_links(used_checkout: Path, tmp_path: Path) -> None:
    """Arguments and the user's directory reach the command line unchanged, and nothing is made twice."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tools").mkdir(parents=True)
    (elsewhere / "tools" / "__main__.py").write_text("print('not this one')")
    (elsewhere / "link").symlink_to("../another link")
    (tmp_path / "another link").symlink_to(used_checkout / "turnlog")
    result = run(elsewhere / "link", "import", "a file.jsonl", cwd=elsewhere)
    assert (result.stdout, result.stderr) == (f"{elsewhere} import a file.jsonl\n", "")


def test_two_first_runs_make_one_whole_environment(checkout: Path) -> None:
    """What an interrupted run left behind is thrown away by one of them, and the other one waits."""
    environment, lock = checkout / ".venv", checkout / "requirements.lock"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / "rubbish").touch()
    assert not is_whole(environment, lock)
    both = [start(checkout / "turnlog", "up") for _ in range(2)]
    errors = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.count("making the environment") for text in errors) == [0, 1]
    assert is_whole(environment, lock)
    assert not (environment / "rubbish").exists()


def test_a_changed_lock_renews_the_environment_in_place(used_checkout: Path) -> None:
    """Nothing is removed under an instance that may be running; a failure leaves no mark of success."""
    environment, lock = used_checkout / ".venv", used_checkout / "requirements.lock"
    (environment / "kept").touch()
    lock.write_text("# changed\n")
    assert "making the environment" in run(used_checkout / "turnlog").stderr
    assert (environment / "kept").exists()
    lock.write_text("not-hashed==1\n")
    failed = run(used_checkout / "turnlog")
    assert failed.returncode == 1
    assert "could not be installed" in failed.stderr
    assert not is_whole(environment, lock)


def test_without_a_python_it_says_what_is_needed(checkout: Path, tmp_path: Path) -> None:
    """An old or missing Python is named as the reason, with what to do."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "readlink", "dirname", "cmp"):
        (programs / name).symlink_to(str(shutil.which(name)))
    old = programs / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    result = subprocess.run(
        [checkout / "turnlog", "up"], capture_output=True, text=True, check=False, env={"PATH": str(programs)}
    )
    assert result.returncode == 1
    assert "needs Python 3.11 or newer" in result.stderr
    assert "apt install python3 python3-venv" in result.stderr

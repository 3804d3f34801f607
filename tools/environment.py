"""Makes or renews `.venv` from a lock file. Run by ./turnlog with the system's Python, so: nothing but
the standard library, and nothing of ours.
"""

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path

RUNTIME_LOCK = "requirements.lock"


def ensure_environment(root: Path, lock: str) -> None:
    """Make `root/.venv` hold what `lock` names. Several at once wait for each other."""
    with (root / ".venv.lock").open("w") as guard:
        # The kernel gives it up when we end, however we end.
        fcntl.flock(guard, fcntl.LOCK_EX)
        environment = root / ".venv"
        if is_whole(environment, root / lock):
            return  # another process made it while we waited
        print(f"turnlog: making the environment from {lock} (once) ...", file=sys.stderr)
        if not _can_be_renewed(environment, root):
            venv.EnvBuilder(clear=True, with_pip=True, symlinks=True).create(environment)
        # The development lock holds all of the other one, in the same versions.
        for name in {lock, RUNTIME_LOCK}:
            (environment / name).unlink(missing_ok=True)
        _install(environment, root / lock)
        for name in {lock, RUNTIME_LOCK}:
            shutil.copyfile(root / name, environment / name)


def is_whole(environment: Path, lock: Path) -> bool:
    """Whether the environment was made, to its end, from this very lock file."""
    stamp = environment / lock.name
    has_python = (environment / "bin" / "python").exists()
    return has_python and stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def _can_be_renewed(environment: Path, root: Path) -> bool:
    # Not one that was never finished, nor one whose Python has since been removed from the machine.
    finished = any((environment / lock.name).exists() for lock in root.glob("requirements*.lock"))
    return finished and (environment / "bin" / "python").exists()


def _install(environment: Path, lock: Path) -> None:
    options = ["--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check", "-qq"]
    python = str(environment / "bin" / "python")
    command = [python, "-I", "-m", "pip", "install", *options, "--requirement", str(lock)]
    # Standard output belongs to the command that is about to run.
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status != 0:
        sys.exit("turnlog: the packages could not be installed; nothing was started. Try again.")


if __name__ == "__main__":
    ensure_environment(Path(sys.argv[1]), sys.argv[2])

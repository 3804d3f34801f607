"""Where embedded servers keep their data and their programs.

Not as root: the data directory itself, and the programs where pip put them. As root the servers run as
another user, to whom the data directory and the virtual environment may be unreachable (below a 0700
/root, say). We change no permission of a directory that is not ours, so then both are kept in a directory
of our own that is reachable, and the data directory records where that is.
"""

import os
import secrets
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import EmbeddedSettings
from tools.embedded.account import Account, server_account
from tools.errors import CommandError

SHARED_DIRECTORIES = (Path("/var/lib/turnlog"), Path("/var/tmp/turnlog"), Path("/tmp/turnlog"))  # noqa: S108 - ownership is checked
_RECORD = "embedded-home"


@dataclass(frozen=True)
class EmbeddedHome:
    """The directory of one instance's embedded servers, and the account they run as."""

    data_dir: Path
    path: Path
    """Where the servers' data are: `data_dir` itself, unless we are root."""
    account: Account | None
    programs: Path | None
    """Where copies of the servers' programs go; None: they run where they are installed."""
    given: EmbeddedSettings = field(default_factory=EmbeddedSettings)
    """Programs that are used instead of the wheels'."""

    def make_directory(self, name: str) -> Path:
        """A directory below the home, for the servers' account only."""
        directory = self.path / name
        directory.mkdir(mode=0o700, exist_ok=True)
        self.give(directory)
        return directory

    def write_private(self, name: str, text: str) -> Path:
        """Write a file that only the servers' account (and root) can read."""
        path = self.path / name
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Make the servers' account the owner."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)


def embedded_home(data_dir: Path, given: EmbeddedSettings | None = None) -> EmbeddedHome:
    """The home that belongs to `data_dir`, made on the first call."""
    given = given or EmbeddedSettings()
    account = server_account()
    if account is None:
        return EmbeddedHome(data_dir, data_dir, None, None, given)
    record = data_dir / _RECORD
    if record.exists():
        path = Path(record.read_text().strip())
        if not path.is_dir():
            raise CommandError(
                f"the embedded servers' data of {data_dir} was in {path}, which is gone."
                f" Put it back, or remove {record} to start empty."
            )
        return EmbeddedHome(data_dir, path, account, path.parent / "programs", given)
    if (data_dir / "postgres").exists():
        owner = (data_dir / "postgres").owner()
        raise CommandError(
            f"the data in {data_dir} were made by {owner}: run ./turnlog as {owner}, not as root"
        )
    shared = shared_directory(account)
    # A random name, not one made from the path: a data directory that was removed must not come back to life.
    path = shared / secrets.token_hex(8)
    path.mkdir(mode=0o700)
    home = EmbeddedHome(data_dir, path, account, shared / "programs", given)
    home.write_private("data-directory", f"{data_dir}\n")  # for whoever wonders whose this is
    home.give(path)
    record.write_text(f"{path}\n")
    return home


def remove_home(home: EmbeddedHome) -> None:
    """Remove the servers' data that are outside the data directory, and the record of where they were."""
    if home.path != home.data_dir:
        shutil.rmtree(home.path, ignore_errors=True)
        (home.data_dir / _RECORD).unlink(missing_ok=True)


def shared_directory(account: Account) -> Path:
    """A directory of ours that `account` can reach, made when missing: root's, mode 0711."""
    for directory in SHARED_DIRECTORIES:
        if not directory.parent.is_dir() or not can_traverse(directory.parent, account):
            continue
        try:
            directory.mkdir(mode=0o711, exist_ok=True)
        except OSError:
            continue
        if _is_ours(directory):
            directory.chmod(0o711)  # the umask may have narrowed it
            return directory
    tried = ", ".join(map(str, SHARED_DIRECTORIES))
    raise CommandError(
        f"no directory for the embedded servers' data that the user {account.name!r} can reach"
        f" (tried {tried}). Run ./turnlog as a user other than root, or name servers of your own in REDIS_URL"
        " and DATABASE_URL."
    )


def can_traverse(directory: Path, account: Account) -> bool:
    """Whether `account` can pass through `directory` and everything above it."""
    for place in (directory, *directory.parents):
        status = place.stat()
        if status.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif status.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _is_ours(directory: Path) -> bool:
    # In /tmp anybody could have made it first: a symbolic link or a directory of somebody else is not used.
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022

"""The unprivileged system account that embedded servers run as when we are root."""

import os
import pwd
import shutil
import subprocess
from typing import NamedTuple

from tools.errors import CommandError

ACCOUNT_NAME = "turnlog"


class Account(NamedTuple):
    """Whom a server runs as."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account for embedded servers: None, meaning ourselves, unless we are root.

    As root it is the system user `turnlog`, made when missing, without a shell, a home or a password.
    Raises CommandError when there is none and it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    return _find() or _create()


def _find() -> Account | None:
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        return None
    if entry.pw_uid == 0:
        raise CommandError(f"the user {ACCOUNT_NAME!r} is root under another name; remove it")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create() -> Account:
    reason = "neither useradd nor adduser was found"
    for command in _creation_commands():
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        # Another `up` may have made it at the same moment: what counts is that it is there.
        account = _find()
        if account is not None:
            return account
        reason = (result.stderr or result.stdout).strip() or f"{command[0]} failed"
    raise CommandError(
        f"PostgreSQL refuses to run as root, and the system user {ACCOUNT_NAME!r} for it could not be made"
        f" ({reason}). Make that user yourself, or run ./turnlog as a user other than root."
    )


def _creation_commands() -> list[list[str]]:
    shell = next(
        (path for path in ("/usr/sbin/nologin", "/sbin/nologin") if os.path.exists(path)), "/bin/false"
    )
    commands: list[list[str]] = []
    if useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        commands.append([useradd, *options, "--shell", shell, ACCOUNT_NAME])
    elif adduser := shutil.which("adduser", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        commands.append([adduser, "-S", "-D", "-H", "-s", shell, ACCOUNT_NAME])  # BusyBox
    return commands

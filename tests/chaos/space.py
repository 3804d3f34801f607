"""A small file system for PostgreSQL alone, which can be full at a moment's notice.

It is mounted in a mount namespace of this process and its children, so that it goes away with them,
however they end.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tools.embedded.home import EmbeddedHome

SIZE_BYTES: Final = 1024 * 1024 * 1024
_SPARE_BYTES: Final = 64 * 1024
_CLONE_NEWNS: Final = 0x00020000

_own_namespace = False


def enter_own_namespace() -> bool:
    """Give this process mounts of its own. Call it before there are threads. False where it may not."""
    global _own_namespace  # noqa: PLW0603 - a property of the process
    if platform.system() != "Linux" or os.geteuid() != 0 or not shutil.which("mount"):
        return False
    if ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return False
    _own_namespace = _mount("--make-rprivate", "/")
    return _own_namespace


def mount(home: EmbeddedHome) -> bool:
    """Put a small file system in the place of `home`'s directory. False where that cannot be done."""
    if not _own_namespace or home.account is None:
        return False
    options = f"size={SIZE_BYTES},mode=0700,uid={home.account.uid},gid={home.account.gid}"
    return _mount("-t", "tmpfs", "-o", options, "turnlog-chaos", str(home.path))


def unmount(path: Path) -> None:
    """Take it away again, with all that is in it."""
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Leave next to nothing free: the file system shrinks to what is in it."""
    used = os.statvfs(path)
    taken = (used.f_blocks - used.f_bfree) * used.f_frsize
    if not _mount("-o", f"remount,size={taken + _SPARE_BYTES}", str(path)):
        raise OSError(f"cannot shrink the file system at {path}")


def free(path: Path) -> None:
    """Give the space back."""
    if not _mount("-o", f"remount,size={SIZE_BYTES}", str(path)):
        raise OSError(f"cannot grow the file system at {path}")


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0

"""Bounds on the log files of the instance's processes."""

import asyncio
import shutil
from pathlib import Path

LARGEST_BYTES = 16 * 1024 * 1024
_PERIOD_SECONDS = 5.0


async def keep_logs_bounded(directory: Path) -> None:
    """Rotate the logs in `directory` whenever one is too large, until cancelled."""
    while True:
        await asyncio.sleep(_PERIOD_SECONDS)
        rotate_large_logs(directory)


def rotate_large_logs(directory: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Move what is in a log over `largest_bytes` to `<log>.1`, in place of the one before.

    Copied and cut, not renamed: the process that writes it (at its end, always) keeps the file open.
    """
    for log in directory.glob("*.log"):
        if log.stat().st_size > largest_bytes:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            with log.open("r+b") as file:
                file.truncate(0)

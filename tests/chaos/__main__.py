"""`python -m tests.chaos` is `./turnlog chaos`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from common.runtime import STOP_SIGNALS, exit_with_parent
from tests.chaos import clock, options, space
from tests.chaos.run import run
from tests.servers import DIRECTORY_PREFIX, remove_what_killed_sessions_left


def main() -> int:
    """Run it; nothing is left behind but the evidence of a run that failed."""
    given = options.parse(sys.argv[1:])
    space.enter_own_namespace()
    # A test that is killed takes us with it, and we take the system.
    exit_with_parent(grace_seconds=60)
    remove_what_killed_sessions_left()
    data = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
    name = f"turnlog-chaos-{given.seed}-{time.strftime('%Y%m%dT%H%M%S')}"
    kept = Path(tempfile.gettempdir()) / name
    kept.mkdir(mode=0o700)
    try:
        return uvloop.run(_until_stopped(given, data, kept))
    except asyncio.CancelledError:
        print(f"stopped; what there was of it: {kept}", file=sys.stderr)  # noqa: T201
        return 130
    finally:
        shutil.rmtree(data, ignore_errors=True)
        clock.remove_leftovers()


async def _until_stopped(given: options.Options, data: Path, kept: Path) -> int:
    task = asyncio.ensure_future(run(given, data, kept))
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        with suppress(ValueError):
            loop.add_signal_handler(signal.Signals(number), task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())

"""Read by Python when it starts a process whose clock is libfaketime's (tests/chaos/clock.py).

Debian's libfaketime (0.9.10) makes every `time.sleep` of Python 3.11 and newer fail with EINVAL: it takes the
monotonic deadline of `clock_nanosleep` for one of the wall clock. `select` does not go through it.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], max(0.0, seconds))


time.sleep = _sleep

"""`python -m tools`: the command line behind `./turnlog`."""

import os
import signal
import sys


def _leave(*_: object) -> None:
    # Not as an exception: compiled modules that are being read swallow those and go on.
    print("turnlog: interrupted", file=sys.stderr, flush=True)
    os._exit(130)


# Where SIGINT is ignored, it stays so.
handler = signal.getsignal(signal.SIGINT)
if handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)

from tools.cli import main  # noqa: E402 - reading the modules takes a moment, in which Ctrl-C has to work

signal.signal(signal.SIGINT, handler)
main()

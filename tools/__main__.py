"""`python -m tools`: the command line behind `./turnlog`."""

import sys

try:
    from tools.cli import main

    main()
except KeyboardInterrupt:
    # Typer says so itself once it runs; this is Ctrl-C while the modules are still being read.
    print("turnlog: interrupted", file=sys.stderr)
    sys.exit(130)

"""`python -m tools`: the command line behind `./turnlog`."""

from tools.cli import main

main()

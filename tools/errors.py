"""The one error of the command line that is the user's to mend."""


class CommandError(Exception):
    """A command cannot go on; the text says why and what to do. It is printed without a traceback."""

"""Every SQL statement, by name. A file holds blocks that begin with a line `-- name: the_name`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


def statement(name: str) -> str:
    """The statement called `name`. Raises KeyError where there is none."""
    return _statements()[name]


@cache
def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    folder = files(__package__ or __name__)
    for file in sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql")):
        for name, text in named_blocks((folder / file).read_text("utf-8")).items():
            if name in found:
                raise ValueError(f"two statements are named {name}")
            found[name] = text
    return found


def named_blocks(text: str) -> dict[str, str]:
    """The statements of one file by name; what stands before the first is the file's own comment."""
    _, *parts = _HEAD.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}

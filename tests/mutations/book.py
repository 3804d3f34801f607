"""The verdicts of a run, one JSON object a line, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.mutations.mutation import Mutation
from tests.mutations.tree import Color, Verdict


class Book:
    """What is known of each line; in `path`, where one is given. A line that was changed is not known."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._verdicts: dict[str, Verdict] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry: dict[str, Any] = json.loads(line)
                verdict = Verdict(Color(entry["color"]), entry["why"], entry["seconds"])
                self._verdicts[entry["key"]] = verdict

    def verdict(self, mutation: Mutation) -> Verdict | None:
        """What was written last of a line."""
        return self._verdicts.get(_key(mutation))

    def write(self, mutation: Mutation, verdict: Verdict) -> None:
        """Write down what became of a line."""
        self._verdicts[_key(mutation)] = verdict
        if self._path is not None:
            entry = {"name": mutation.name, "test": mutation.test, **asdict(verdict), "key": _key(mutation)}
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")


def _key(mutation: Mutation) -> str:
    """The same only for the same change and the same test."""
    parts = (mutation.file, mutation.old, mutation.new, mutation.test)
    return sha256("\0".join(parts).encode()).hexdigest()[:16]

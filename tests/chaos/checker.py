"""Check a history against the promises: `python -m tests.chaos.checker HISTORY.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.history import Operation
from tests.chaos.stored import Record
from tests.chaos.verdict import Verdict


def check(operations: Sequence[Operation], record: Record) -> Verdict:
    """All that `operations` (final reads among them) and the `record` at the end prove to be broken.

    Claims only what the order of real time allows: what overlaps may have happened in either order, and what
    is unknown at any time after it was asked for, or never.
    """
    raise NotImplementedError

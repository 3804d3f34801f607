"""What a replay has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of events. `read` were looked at, `skipped` of them not selected, `refused` never can be."""

    read: int = 0
    skipped: int = 0
    applied: int = 0
    known: int = 0
    refused: int = 0


def summary(tally: Tally, seconds: float, *, resumed: bool, dry_run: bool = False) -> str:
    """The end of a replay, for people."""
    if dry_run:
        left_out = f"{tally.skipped:,} of them not selected, {tally.refused:,} could not be taken"
        return f"dry run, nothing was changed: {tally.read:,} events read in {seconds:.1f} s, {left_out}"
    since = ", with what was done before it was resumed" if resumed else ""
    return (
        f"replayed in {seconds:.1f} s: read {tally.read:,}, applied {tally.applied:,}, already there"
        f" {tally.known:,}, skipped {tally.skipped:,}, refused {tally.refused:,}{since}"
    )

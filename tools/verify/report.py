"""What a run found, for people and for programs. No contents: users, conversations and numbers only."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.verify.findings import MEANINGS, Kind, Tally


def as_json(tally: Tally, *, repair: bool) -> str:
    """The report as one JSON object."""
    kinds: list[dict[str, Any]] = [
        {
            "kind": kind,
            "meaning": MEANINGS[kind],
            "found": found,
            "repaired": tally.repaired[kind],
            "examples": [f.model_dump(mode="json", exclude_none=True) for f in tally.examples.get(kind, [])],
        }
        for kind, found in _in_order(tally)
    ]
    report = {
        "clean": is_clean(tally),
        "repair": repair,
        "conversations": tally.conversations,
        "users": tally.users,
        "log_entries": tally.log_entries,
        "found": tally.drift,
        "repaired": tally.repaired.total(),
        "left": tally.left,
        "undecided": tally.undecided,
        "kinds": kinds,
    }
    return json.dumps(report, indent=2)


def is_clean(tally: Tally) -> bool:
    """Whether no drift is left, for all that could be judged."""
    return tally.left == 0 and tally.undecided == 0


def render(tally: Tally, *, repair: bool) -> RenderableType:
    """The report as a table by kind of drift, and a last word."""
    parts: list[RenderableType] = []
    if tally.drift:
        parts += [_table(tally, repair=repair), "", *_examples(tally), ""]
    parts.append(Text(_last_word(tally, repair=repair)))
    return Group(*parts)


def _table(tally: Tally, *, repair: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind", no_wrap=True)
    table.add_column("found", justify="right")
    if repair:
        table.add_column("repaired", justify="right")
    table.add_column("meaning")
    for kind, found in _in_order(tally):
        counts = [f"{found:,}", f"{tally.repaired[kind]:,}"] if repair else [f"{found:,}"]
        table.add_row(kind.value, *counts, MEANINGS[kind])
    return table


def _examples(tally: Tally) -> list[Text]:
    """User, conversation, number; or the position on the log."""
    return [
        Text(f"{kind.value}  {example}")
        for kind, _ in _in_order(tally)
        for example in tally.examples.get(kind, [])
    ]


def _last_word(tally: Tally, *, repair: bool) -> str:
    looked = (
        f"{tally.conversations:,} conversations, {tally.users:,} users' lists, {tally.log_entries:,} entries"
        " of the log"
    )
    undecided = ""
    if tally.undecided:
        undecided = f"; {tally.undecided:,} changed under every look: verify again when they rest"
    if not tally.drift:
        return f"{looked}: no drift{undecided}"
    if not repair:
        return f"{looked}: {tally.drift:,} differences{undecided}; mend them with --repair"
    left = f"{tally.left:,} left" if tally.left else "none left"
    return f"{looked}: {tally.drift:,} differences, {tally.repaired.total():,} repaired, {left}{undecided}"


def _in_order(tally: Tally) -> list[tuple[Kind, int]]:
    return [(kind, tally.found[kind]) for kind in Kind if tally.found[kind]]

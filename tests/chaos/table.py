"""The result of a run as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.chaos.history import Outcome
from tests.chaos.outcome import Result


def print_result(result: Result, console: Console) -> None:
    """Print all of it."""
    verdict = result.verdict
    console.print(_faults(result))
    console.print(_calls(result))
    console.print(_pairs("Processes", {**_kills(result), **_peaks(result)}))
    figures = {
        "attacked for": f"{result.seconds / 60:.1f} min",
        "acknowledged events": f"{verdict.events:,}",
        "acknowledged messages": f"{verdict.messages:,}",
        "operations": f"{verdict.operations:,}",
        "unknown outcomes": f"{verdict.unknown:,}",
        **{str(name): f"{count:,}" for name, count in verdict.counts.items()},
        "parked events": f"{result.parked:,}",
        "processes that ended by themselves": f"{len(result.crashes):,}",
        "errors in logs": f"{sum(result.alarms.values()):,}",
    }
    console.print(_pairs("Verdict", figures))


def _faults(result: Result) -> Table:
    table = Table("fault", "count", "recovery median", "max", title="Faults", title_justify="left")
    for kind, made in sorted(result.as_json()["faults"].items()):
        table.add_row(
            kind,
            f"{made['count']}",
            _seconds(made["recovery_median_seconds"]),
            _seconds(made["recovery_max_seconds"])
            + (f", {made['unrecovered']} never" if made["unrecovered"] else ""),
        )
    for kind, reason in sorted(result.deeds.impossible.items()):
        table.add_row(kind, "0", f"not possible: {reason}", "")
    return table


def _calls(result: Result) -> Table:
    table = Table("call", *(str(outcome) for outcome in Outcome), title="Calls", title_justify="left")
    for kind in sorted({kind for kind, _ in result.calls}):
        table.add_row(str(kind), *(f"{result.calls.get((kind, outcome), 0):,}" for outcome in Outcome))
    return table


def _pairs(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _kills(result: Result) -> dict[str, str]:
    return {f"kills of {name}": f"{count:,}" for name, count in sorted(result.kills.items())}


def _peaks(result: Result) -> dict[str, str]:
    return {f"peak memory of {name}": f"{size / 2**20:.0f} MB" for name, size in result.peak_bytes.items()}


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"  # noqa: RUF001 - a dash for nothing

"""What a run came to: the verdict, what was done to the system, and how it stood that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import Kind, Outcome
from tests.chaos.nemesis import Deeds, recovery_times
from tests.chaos.verdict import Verdict


@dataclass(frozen=True)
class Result:
    """Everything that the table shows."""

    seed: int
    command: str
    seconds: float
    verdict: Verdict
    deeds: Deeds
    calls: Mapping[tuple[Kind, Outcome], int]
    kills: Mapping[str, int]
    crashes: tuple[str, ...]
    """Ends of processes that were not our doing."""
    parked: int
    settled: bool
    """Whether at the end everything on the log reached PostgreSQL."""
    peak_bytes: Mapping[str, int]
    alarms: Mapping[str, int] = field(default_factory=dict[str, int])
    """Errors in the services' logs, by text."""
    trouble: tuple[str, ...] = ()
    """Why there may be no verdict at all."""

    @property
    def problems(self) -> list[str]:
        """Why the run failed, in words; empty where it passed."""
        found = list(self.trouble)
        if not self.verdict.messages and not self.trouble:
            found.append("no message was acknowledged, so that nothing is shown")
        if not self.verdict.clean:
            broken = {f"{name}": count for name, count in self.verdict.counts.items() if count}
            found.append("promises broken: " + ", ".join(f"{name} {n}" for name, n in broken.items()))
        found += [f"not well within a minute after {i.kind} {i.target}" for i in self.deeds.unrecovered]
        found += [f"{i.kind} {i.target} could not be made: {i.error}" for i in self.deeds.failed]
        found += [f"ended by itself: {how}" for how in self.crashes]
        found += [f"{count} times in a log: {text}" for text, count in self.alarms.items()]
        if self.parked:
            found.append(f"{self.parked} events were parked")
        if not self.settled:
            found.append("at the end not everything reached PostgreSQL")
        return found

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        calls: dict[str, Counter[str]] = defaultdict(Counter)
        for (kind, outcome), count in self.calls.items():
            calls[kind.value][outcome.value] += count
        return {
            "seed": self.seed,
            "command": self.command,
            "seconds": round(self.seconds, 1),
            "passed": not self.problems,
            "problems": self.problems,
            "events": self.verdict.events,
            "messages": self.verdict.messages,
            "operations": self.verdict.operations,
            "violations": {str(name): count for name, count in self.verdict.counts.items()},
            "faults": {kind: _fault(made) for kind, made in sorted(self.deeds.by_kind.items())},
            "not_possible": self.deeds.impossible,
            "kills": dict(self.kills),
            "calls": {kind: dict(outcomes) for kind, outcomes in sorted(calls.items())},
            "parked": self.parked,
            "crashes": list(self.crashes),
            "alarms": dict(self.alarms),
            "peak_bytes": dict(self.peak_bytes),
        }


def _fault(made: list[Any]) -> dict[str, Any]:
    times = recovery_times(made)
    median, worst = times or (None, None)
    return {
        "count": len(made),
        "recovery_median_seconds": None if median is None else round(median, 2),
        "recovery_max_seconds": None if worst is None else round(worst, 2),
        "unrecovered": sum(1 for one in made if one.recovered_ns is None),
    }

"""Makes one fault after the other, by a plan that its seed decides, and writes down what it did.

Kinds come from shuffled decks, so that over a run each comes round as often as any other.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import orjson

from tests.chaos.faults.fault import Dice, Fault, Kind
from tests.chaos.instance import Instance
from tests.chaos.losses import Loss
from tests.chaos.recovery import Recovery

RECOVERY_LIMIT_SECONDS: Final = 60.0
_TOGETHER: Final = 0.25
_SHORTEST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that was made. Times are monotonic nanoseconds, as in the history."""

    kind: str
    target: str
    began_ns: int
    healed_ns: int
    recovered_ns: int | None
    """None: not within the limit, which is a finding."""
    error: str | None = None
    """Why it could not be made after all: the run then says less than it should."""

    @property
    def recovery_seconds(self) -> float | None:
        """From the end of the fault until everything worked and nothing was left behind."""
        return None if self.recovered_ns is None else (self.recovered_ns - self.healed_ns) / 1e9


@dataclass
class Deeds:
    """All that a nemesis did."""

    injections: list[Injection] = field(default_factory=list[Injection])
    impossible: dict[str, str] = field(default_factory=dict[str, str])
    """Kinds that cannot be made here, and why."""
    losses: list[Loss] = field(default_factory=list[Loss])
    """What Redis was made to lose."""

    @property
    def by_kind(self) -> dict[str, list[Injection]]:
        """The injections of every kind that was made."""
        kinds: dict[str, list[Injection]] = defaultdict(list)
        for injection in self.injections:
            kinds[injection.kind].append(injection)
        return dict(kinds)

    @property
    def unrecovered(self) -> list[Injection]:
        """Those after which the system did not get well in time."""
        return [made for made in self.injections if made.recovered_ns is None and not made.error]

    @property
    def failed(self) -> list[Injection]:
        """Those that could not be made."""
        return [made for made in self.injections if made.error]


def recovery_times(injections: Sequence[Injection]) -> tuple[float, float] | None:
    """Median and maximum in seconds; None where nothing recovered."""
    times = [made.recovery_seconds for made in injections if made.recovery_seconds is not None]
    return (statistics.median(times), max(times)) if times else None


def decks(kinds: Sequence[Kind], dice: random.Random) -> Iterator[Kind]:
    """Kinds without end: each as often as its turns say, in an order shuffled anew for every round."""
    while True:
        deck = [kind for kind in kinds for _ in range(kind.turns)]
        dice.shuffle(deck)
        yield from deck


class Nemesis:
    """Attacks `instance` with `kinds`. Each deed is a line in `record`; `report` gets one for people."""

    def __init__(
        self,
        instance: Instance,
        kinds: Sequence[Kind],
        *,
        seed: int,
        record: Path,
        report: Callable[[str], None],
        longest_seconds: float = 12.0,
    ) -> None:
        self.deeds = Deeds()
        self._instance = instance
        self._random = random.Random(f"nemesis {seed}")
        self._dice = Dice(self._random, longest_seconds)
        self._record = record
        self._report = report
        self._recovery = Recovery(instance)
        self._kinds: list[Kind] = []
        for kind in kinds:
            if reason := kind.impossible(instance):
                self.deeds.impossible[kind.name] = reason
            else:
                self._kinds.append(kind)

    async def run(self, until: float) -> None:
        """Attack until `until` (monotonic seconds). All is healed when this returns or is cancelled."""
        if not self._kinds:
            return
        deck = decks(self._kinds, self._random)
        while time.monotonic() < until:
            kind = next(deck)
            faults = [(kind, kind.make(self._instance, self._dice))]
            links = [other for other in self._kinds if other.link and kind.link]
            if links and self._random.random() < _TOGETHER:
                other = self._random.choice(links)
                second = other.make(self._instance, self._dice)
                if _server(second) != _server(faults[0][1]):
                    faults.append((other, second))
            pause = self._random.uniform(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            await self._strike(faults)
            await asyncio.sleep(min(pause, self._dice.longest / 4))

    async def _strike(self, faults: Sequence[tuple[Kind, Fault]]) -> None:
        began, error = time.monotonic_ns(), None
        try:
            try:
                for _, fault in faults:
                    await fault.inject()
                await asyncio.sleep(max(fault.seconds for _, fault in faults))
            finally:
                for _, fault in faults:
                    await fault.heal()
        except Exception as failure:  # the plan goes on: a run is long, and says at its end what it missed
            error = f"{type(failure).__name__}: {failure}"
        healed = time.monotonic_ns()
        recovered = await self._recovery.wait(RECOVERY_LIMIT_SECONDS)
        recovered_ns = time.monotonic_ns() if recovered else None
        for kind, fault in faults:
            if fault.loss is not None:
                self.deeds.losses.append(replace(fault.loss, well_ns=recovered_ns))
            self._note(Injection(kind.name, fault.target, began, healed, recovered_ns, error))

    def _note(self, made: Injection) -> None:
        self.deeds.injections.append(made)
        with self._record.open("ab") as file:
            file.write(orjson.dumps(asdict(made)) + b"\n")
        seconds = (made.healed_ns - made.began_ns) / 1e9
        end = (
            f"recovered in {made.recovery_seconds:.1f} s" if made.recovery_seconds is not None else "NOT WELL"
        )
        failure = f"; could not be made: {made.error}" if made.error else ""
        self._report(f"{made.kind} {made.target}: {seconds:.1f} s, {end}{failure}")


def _server(fault: Fault) -> str:
    return fault.target.partition("→")[2].partition(" ")[0]

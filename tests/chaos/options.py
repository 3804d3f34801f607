"""What a run is asked for."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults.catalogue import DEFAULT, KINDS
from tests.chaos.faults.fault import LONGEST_SECONDS, Kind


@dataclass(frozen=True)
class Options:
    """One run of chaos."""

    minutes: float
    seed: int
    kinds: tuple[Kind, ...] = DEFAULT
    clients: int = 24
    users: int = 4
    pace: float = 200.0
    longest_seconds: float = LONGEST_SECONDS
    keep: bool = False
    json: Path | None = None

    @property
    def command(self) -> str:
        """What repeats this run."""
        words = [f"./turnlog chaos --minutes {self.minutes:g} --seed {self.seed} --clients {self.clients}"]
        defaults = Options(self.minutes, self.seed)
        if self.kinds != DEFAULT:
            words.append("--faults " + ",".join(kind.name for kind in self.kinds))
        if self.users != defaults.users:
            words.append(f"--users {self.users}")
        if self.pace != defaults.pace:
            words.append(f"--pace {self.pace:g}")
        if self.longest_seconds != defaults.longest_seconds:
            words.append(f"--longest {self.longest_seconds:g}")
        return " ".join(words)


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line; ends the program, with a line that helps, where they are wrong."""
    names = ", ".join(kind.name for kind in KINDS)
    parser = argparse.ArgumentParser(
        prog="./turnlog chaos",
        description="Attack a whole system of its own while clients use it, then judge what they saw.",
        epilog=f"Kinds of faults: {names}.",
    )
    defaults = Options(0, 0)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to attack (1)")
    parser.add_argument("--seed", type=int, help="repeats a plan of faults and of calls (a random one)")
    parser.add_argument("--faults", type=_kinds, default=DEFAULT, help="kinds, by comma; `none`: only load")
    parser.add_argument("--clients", type=int, default=defaults.clients)
    parser.add_argument("--users", type=int, default=defaults.users)
    parser.add_argument("--pace", type=float, default=defaults.pace, help="calls per second of all clients")
    parser.add_argument(
        "--longest", type=float, default=LONGEST_SECONDS, help="seconds of one fault, at most"
    )
    parser.add_argument("--keep", action="store_true", help="keep history and logs of a good run, too")
    parser.add_argument("--json", type=Path, help="write the table to this file, for programs")
    given = parser.parse_args(arguments)
    if given.minutes <= 0 or given.clients < 1 or given.users < 1 or given.pace <= 0 or given.longest < 0.3:
        parser.error("--minutes, --clients, --users and --pace are more than 0, --longest at least 0.3")
    return Options(
        minutes=given.minutes,
        seed=secrets.randbelow(10**9) if given.seed is None else given.seed,
        kinds=given.faults,
        clients=given.clients,
        users=given.users,
        pace=given.pace,
        longest_seconds=given.longest,
        keep=given.keep,
        json=given.json,
    )


def _kinds(text: str) -> tuple[Kind, ...]:
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    known = {kind.name: kind for kind in KINDS}
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"no such kind: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in names)

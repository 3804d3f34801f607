"""Many times what PostgreSQL can take, for as long as one likes.

.venv/bin/python -m tests.chaos.overload [--minutes N] [--default-bounds] [--json FILE]

PostgreSQL is slowed down for real; clients go on appending whatever they are told. Afterwards what was
acknowledged is in PostgreSQL, once and in order, what was refused is not; the backlog kept its bounds, and no
process of ours grew. The bounds are small, so that they are reached within seconds. With --default-bounds
they are those of .env.example, as is a persister's batch, and all users are of one partition: it takes
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from common.assembly import keys_for
from common.domain.ids import UserId
from common.redis.client import RedisClient
from common.redis.functions import Functions
from common.redis.pressure import Backlog, Bounds, Pressure
from common.settings import LimitsSettings, PersisterSettings, RedisSettings
from tests.chaos.accounts import compare_rows
from tests.chaos.caches import parked_events
from tests.chaos.growth import Growth
from tests.chaos.instance import Instance
from tests.chaos.load import Ledger, Pace, load
from tests.chaos.settled import settled
from tests.chaos.slowed import Count, slowed
from tests.chaos.under_load import Findings, run_on_instance, say, tokens_for

TIMES: Final = 10
_PREFIX: Final = "overload-"
_MIB: Final = 1024 * 1024
_LINE_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 600.0
_BATCH_EVENTS: Final = 5
# Over a bound by what comes in between two samples (250 ms), and while a machine is busy with something else.
_OVERSHOOT_SECONDS: Final = 2.0
_LARGEST_MESSAGE: Final = 9_000


@dataclass(frozen=True)
class Options:
    """`drain`: messages per second that PostgreSQL is to take; the bounds are of each partition, of which the
    users are in the first `partitions`."""

    minutes: float
    drain: float
    events: int
    mib: int
    pace: Pace
    partitions: int
    batch_events: int
    patience_seconds: int = 120

    @property
    def tuning(self) -> dict[str, str]:
        """Variables of the services."""
        return {
            "LIMITS_BACKLOG_MAX_EVENTS": str(self.events),
            "LIMITS_BACKLOG_MAX_BYTES": str(self.mib * _MIB),
            "PERSISTER_BATCH_EVENTS": str(self.batch_events),
            # A slow batch is neither given up nor taken from its persister.
            "POSTGRES_STATEMENT_TIMEOUT_SECONDS": str(self.patience_seconds),
            "PERSISTER_CLAIM_MIN_IDLE_SECONDS": str(self.patience_seconds),
            "PERSISTER_REPLAY_WINDOW_SECONDS": "10",
        }


class Overload:
    """One run on an instance."""

    def __init__(self, instance: Instance, options: Options) -> None:
        self._instance = instance
        self._options = options
        self._growth = Growth(instance)
        self._most = Backlog("", 0, 0, 0, 0, 0)
        self._total = (0, 0)

    async def run(self) -> Findings:
        """Load, end the slowness, settle, compare."""
        options, instance = self._options, self._instance
        persisters = sum(name.startswith("persister") for name in instance.services)
        async with (
            slowed(instance.postgres.spec.dsn, persisters / options.drain) as stored,
            load(
                instance.urls,
                token_for=tokens_for(instance),
                pace=options.pace,
                prefix=_PREFIX,
                among=self._is_wanted,
            ) as ledger,
            self._growth.watched(),
        ):
            drained = await self._watch(ledger, stored)
        say("the slowness ends; waiting until everything is in PostgreSQL")
        began = time.monotonic()
        done = await settled(instance, timeout_seconds=_SETTLE_SECONDS)
        say(f"settled after {time.monotonic() - began:.1f} s" if done else "NOT settled")
        wrong = await compare_rows(instance.postgres.spec.dsn, _PREFIX, ledger)
        parked = await parked_events(instance)
        return self._told(ledger, drained, wrong, parked=parked, settled=done)

    def _is_wanted(self, user: str) -> bool:
        return keys_for(self._instance.settings).partition(UserId(user)) < self._options.partitions

    async def _watch(self, ledger: Ledger, stored: Count) -> int:
        """Look at the backlog until the time is over; the messages that PostgreSQL took in it."""
        client = RedisClient(self._instance.settings.redis.dsn)
        began, line_at = time.monotonic(), _LINE_SECONDS
        try:
            while (seconds := time.monotonic() - began) < self._options.minutes * 60:
                await self._look(client)
                if seconds >= line_at:
                    line_at += _LINE_SECONDS
                    self._say(seconds, ledger, await stored())
                await asyncio.sleep(0.5)
            drained = await stored()
            self._say(seconds, ledger, drained)
        finally:
            await client.aclose()
        return drained

    async def _look(self, client: RedisClient) -> None:
        keys = keys_for(self._instance.settings)
        pressure = Pressure(Functions(client), keys, Bounds())
        backlogs = [await pressure.backlog(number) for number in range(keys.partitions)]
        self._total = (sum(b.events for b in backlogs), sum(b.bytes for b in backlogs))
        events = max(self._most.events, *(b.events for b in backlogs))
        size = max(self._most.bytes, *(b.bytes for b in backlogs))
        self._most = Backlog("", events, size, 0, 0, 0)

    def _say(self, seconds: float, ledger: Ledger, drained: int) -> None:
        events, size = self._total
        say(
            f"{seconds:4.0f} s  messages: offered {ledger.offered:,}, acknowledged (201) {ledger.taken:,},"
            f" refused (503) {ledger.refused:,}, in PostgreSQL {drained:,}; backlog {events:,} events,"
            f" {size / _MIB:.1f} MiB; reads {dict(ledger.reads)}; MiB: {self._growth.now()}"
        )

    def _told(
        self, ledger: Ledger, drained: int, wrong: dict[str, int], *, parked: int, settled: bool
    ) -> Findings:
        options = self._options
        per_second = options.pace.appends * options.pace.batch / options.partitions
        spill = _OVERSHOOT_SECONDS * per_second
        times = ledger.offered / max(1, drained)
        thirds = self._growth.thirds()
        for name, (first, last) in thirds.items():
            say(f"{name:12} {first / _MIB:7.1f} MiB in the first third, {last / _MIB:7.1f} in the last")
        say(f"offered {times:.1f} times what PostgreSQL took; {dict(wrong)}, parked {parked}")
        say(f"most of one partition: {self._most.events:,} events, {self._most.bytes / _MIB:.1f} MiB")
        if ledger.others:
            say(f"other answers: {dict(ledger.others)}")
        checks = {
            **{f"{count} messages {kind}": count > 0 for kind, count in wrong.items()},
            f"{parked} events parked": parked > 0,
            "not everything was committed": not settled,
            f"offered only {times:.1f} times what PostgreSQL took": times < TIMES,
            "nothing was refused: it was no overload": ledger.refused == 0,
            f"{self._most.events} events waited": self._most.events > options.events + spill,
            f"{self._most.bytes} bytes waited": self._most.bytes
            > options.mib * _MIB + spill * _LARGEST_MESSAGE,
        }
        return {
            "problems": [text for text, is_so in checks.items() if is_so] + self._growth.too_much(),
            "offered": ledger.offered,
            "acknowledged": ledger.taken,
            "refused": ledger.refused,
            "unknown": len(ledger.unknown),
            "drained_meanwhile": drained,
            "times": times,
            "reads": dict(ledger.reads),
            "most_events": self._most.events,
            "most_bytes": self._most.bytes,
            "wrong": dict(wrong),
            "parked": parked,
            "bytes_of_processes": thirds,
        }


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--drain", type=float, default=100.0, help="messages/s that PostgreSQL takes (100)")
    parser.add_argument("--appends", type=float, default=150.0, help="requests/s of ten messages (150)")
    parser.add_argument("--reads", type=float, default=50.0, help="requests/s (50)")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--max-events", type=int, default=5_000, help="bound of one partition (5000)")
    parser.add_argument("--max-mib", type=int, default=8, help="bound of one partition (8)")
    parser.add_argument("--default-bounds", action="store_true", help="the bounds of .env.example instead")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = Options(
        given.minutes,
        given.drain,
        given.max_events,
        given.max_mib,
        Pace(given.clients, given.appends, reads=given.reads),
        partitions=RedisSettings().partitions,
        batch_events=_BATCH_EVENTS,
    )
    if given.default_bounds:
        limits = LimitsSettings()
        options = replace(
            options,
            events=limits.backlog_max_events,
            mib=limits.backlog_max_bytes // _MIB,
            partitions=1,
            batch_events=PersisterSettings().batch_events,
            patience_seconds=600,
        )
    return run_on_instance(
        lambda instance: Overload(instance, options).run(), tuning=options.tuning, json=given.json
    )


if __name__ == "__main__":
    sys.exit(main())

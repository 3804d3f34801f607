"""How long the entries of a persister wait that stands still, or is gone, with a batch in its hands.

.venv/bin/python -m tests.chaos.takeover [--times N] [--json FILE]

Under load one persister is stopped (SIGSTOP) or killed (kill -9) inside its transaction; the time runs until
all that it held is committed by the other. Then it is woken, writes its batch late, and must have changed
nothing: no message lost, twice or out of order, nothing parked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final, Literal

import asyncpg

from common.settings import PersisterSettings, PostgresSettings
from tests.chaos.accounts import compare_rows, read_back
from tests.chaos.caches import drop_caches, parked_events
from tests.chaos.faults.processes import Frozen
from tests.chaos.holdings import Held, Holdings, holdings
from tests.chaos.instance import Instance
from tests.chaos.load import Ledger, Pace, load
from tests.chaos.settled import settled
from tests.chaos.under_load import Findings, run_on_instance, say, tokens_for
from tests.waiting import wait_until

How = Literal["stop", "kill"]
_PREFIX: Final = "takeover-"
_LONGEST_SECONDS: Final = 120.0
_SETTLE_SECONDS: Final = 120.0
_PERSISTERS: Final = ("persister-1", "persister-2")
_POLL_SECONDS: Final = 0.05
_WRITERS: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'turnlog-persister' AND {}"
_WAITING: Final = _WRITERS.format("wait_event_type = 'Lock'")
_STANDING: Final = _WRITERS.format(
    "xact_start IS NOT NULL AND wait_event = 'ClientRead' AND state IN ('active', 'idle in transaction')"
    " AND state_change < clock_timestamp() - interval '0.5 s'"
)


@dataclass(frozen=True)
class Takeover:
    """One round; seconds since the signal."""

    how: How
    victim: str
    entries: int
    claimed: float
    """When the other had taken over the last of them."""
    unlocked: float
    """When PostgreSQL had let go of what the victim had locked."""
    committed: float
    """When the last of them was in PostgreSQL, and settled."""


class Takeovers:
    """Rounds on one instance under load."""

    def __init__(
        self, instance: Instance, held: Holdings, record: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        self._instance = instance
        self._held = held
        self._record = record

    async def round(self, how: How, victim: str) -> Takeover:
        """Take one persister away with a batch in its hands, and bring it back when that is committed."""
        pid = self._pid(victim)
        log_file = self._instance.services[victim].child.spec.log_file
        frozen = Frozen(self._instance, victim, woken_anyway_seconds=_LONGEST_SECONDS)
        async with self._batch_in_hand(pid):
            began = time.monotonic()
            if how == "stop":
                frozen.stop()
            else:
                self._instance.expect_death(victim)
                self._instance.family(victim)[0].kill()
        try:
            taken = await self._watch(how, victim, pid, began)
        finally:
            said_before = log_file.stat().st_size
            frozen.wake()
        if how == "stop":
            stopped_ms = int((time.monotonic() - began) * 1000)
            await wait_until(
                lambda: _wrote_late(log_file, said_before, at_least_ms=stopped_ms),
                timeout_seconds=_SETTLE_SECONDS,
                message=f"{victim} writes what it held, now that it is awake",
            )
        await wait_until(lambda: self._pid(victim) != (pid if how == "kill" else 0), timeout_seconds=60)
        return taken

    def _pid(self, name: str) -> int:
        family = self._instance.family(name)
        return family[0].pid if family else 0

    @asynccontextmanager
    async def _batch_in_hand(self, pid: int) -> AsyncGenerator[None]:
        """Until the block ends every persister stands inside a transaction, before a locked table."""
        async with self._record.transaction():
            await self._record.execute("LOCK TABLE messages IN SHARE MODE")

            async def all_wait() -> bool:
                waiting: int = await self._record.fetchval(_WAITING)
                return waiting >= len(_PERSISTERS) and bool(await self._held.of_process(pid))

            await wait_until(all_wait, timeout_seconds=30, message="both persisters have a batch in hand")
            yield

    async def _watch(self, how: How, victim: str, pid: int, began: float) -> Takeover:
        """Look until all is committed. A read that was under way still gives it entries: all count."""
        ever: Held = await self._held.of_process(pid)
        claimed = unlocked = 0.0
        waiting: Held = ever
        while waiting:
            await asyncio.sleep(_POLL_SECONDS)
            passed = time.monotonic() - began
            if passed > _LONGEST_SECONDS:
                raise AssertionError(f"{victim}: {len(waiting)} entries wait after {passed:.0f} s")
            ours = await self._held.of_process(pid)
            ever |= ours
            if ours:
                claimed = 0.0
            claimed = claimed or (0.0 if ours else passed)
            standing: int = await self._record.fetchval(_STANDING)
            unlocked = passed if standing else unlocked
            waiting = await self._held.still_there(ever)
        return Takeover(how, victim, len(ever), claimed, unlocked, time.monotonic() - began)


def _wrote_late(log_file: Path, offset: int, *, at_least_ms: int) -> bool:
    """Whether a persister's log says, from `offset` on, that it committed events that had waited so long."""
    for line in log_file.read_bytes()[offset:].splitlines():
        if b'"batch_committed"' in line and json.loads(line)["lag_ms"] >= at_least_ms:
            return True
    return False


async def takeovers(instance: Instance, times: int, ways: tuple[How, ...], pace: Pace) -> Findings:
    """Load, `times` rounds of each way, settle, compare."""
    tokens = tokens_for(instance)
    rounds = list[Takeover]()
    record = await asyncpg.connect(instance.postgres.spec.dsn)
    async with (
        holdings(instance) as held,
        load(instance.urls, token_for=tokens, pace=pace, prefix=_PREFIX) as ledger,
    ):
        work = Takeovers(instance, held, record)
        for number in range(times * len(ways)):
            how = ways[number % len(ways)]
            rounds.append(await work.round(how, _PERSISTERS[number // len(ways) % len(_PERSISTERS)]))
            say(_line(rounds[-1]))
    await record.close()
    done = await settled(instance, timeout_seconds=_SETTLE_SECONDS)
    wrong = await compare_rows(instance.postgres.spec.dsn, _PREFIX, ledger)
    cached = await read_back(instance.urls, tokens, ledger)
    await drop_caches(instance)
    cold = await read_back(instance.urls, tokens, ledger)
    read = Counter({kind: cached[kind] + cold[kind] for kind in cached})
    return _told(rounds, ledger, wrong, read, parked=await parked_events(instance), settled=done)


def _told(
    rounds: list[Takeover],
    ledger: Ledger,
    wrong: dict[str, int],
    read: dict[str, int],
    *,
    parked: int,
    settled: bool,
) -> Findings:
    for how in dict.fromkeys(one.how for one in rounds):
        some = [one for one in rounds if one.how == how]
        figures = ", ".join(
            f"{name} {median(values):.1f} ({max(values):.1f})"
            for name, values in (
                ("claimed", [one.claimed for one in some]),
                ("unlocked", [one.unlocked for one in some]),
                ("committed", [one.committed for one in some]),
            )
        )
        entries = sum(one.entries for one in some)
        say(f"{how}: {len(some)} times, {entries} entries; seconds until, median (longest): {figures}")
    say(f"acknowledged {ledger.taken} messages; {dict(wrong)}, parked {parked}; read back {dict(read)}")
    checks = {
        **{f"{count} messages {kind}": count > 0 for kind, count in wrong.items()},
        **{f"reading back: {count} {kind}": count > 0 for kind, count in read.items()},
        f"{parked} events parked": parked > 0,
        "not everything was committed": not settled,
        f"appends were not acknowledged: {dict(ledger.others)}": bool(ledger.others) or ledger.refused > 0,
    }
    return {
        "problems": [text for text, is_so in checks.items() if is_so],
        "rounds": [asdict(one) for one in rounds],
        "acknowledged": ledger.taken,
        "wrong": dict(wrong),
        "read_back": dict(read),
        "parked": parked,
    }


def _line(one: Takeover) -> str:
    return (
        f"{one.how:4} {one.victim}: {one.entries} entries; claimed after {one.claimed:.1f} s,"
        f" unlocked {one.unlocked:.1f} s, committed {one.committed:.1f} s"
    )


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.takeover", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds of each way (5)")
    parser.add_argument("--how", choices=("stop", "kill", "both"), default="both")
    parser.add_argument(
        "--idle",
        type=float,
        default=PersisterSettings().claim_min_idle_seconds,
        help="PERSISTER_CLAIM_MIN_IDLE_SECONDS (its default)",
    )
    parser.add_argument("--appends", type=float, default=20.0, help="requests/s of two messages (20)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pace = Pace(given.clients, given.appends, batch=2, reads=10.0)
    ways: tuple[How, ...] = ("stop", "kill") if given.how == "both" else (given.how,)
    tuning = {
        "PERSISTER_CLAIM_MIN_IDLE_SECONDS": f"{given.idle:g}",
        "POSTGRES_STATEMENT_TIMEOUT_SECONDS": f"{PostgresSettings().statement_timeout_seconds:g}",
        "LOG_LEVEL": "debug",  # only there each batch is told
    }
    return run_on_instance(
        lambda instance: takeovers(instance, given.times, ways, pace), tuning=tuning, json=given.json
    )


if __name__ == "__main__":
    sys.exit(main())

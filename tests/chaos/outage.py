"""PostgreSQL away for minutes while clients go on.

.venv/bin/python -m tests.chaos.outage [--minutes N] [--json FILE]

Appends are acknowledged and cached reads answered all the time; when it is back everything is committed by
itself, nothing is parked, and every conversation reads whole through every gateway, cached and not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.chaos.accounts import compare_rows, read_back
from tests.chaos.caches import drop_caches, parked_events
from tests.chaos.growth import Growth
from tests.chaos.instance import Instance
from tests.chaos.load import Ledger, Pace, load
from tests.chaos.settled import settled
from tests.chaos.under_load import Findings, run_on_instance, say, tokens_for

_PREFIX: Final = "outage-"
_BEFORE_SECONDS: Final = 3.0
_LINE_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 600.0
# What is cached stays so, as it does with the default of days.
_TUNING: Final = {"REDIS_TTL_SECONDS": "36000"}


async def outage(instance: Instance, minutes: float, pace: Pace) -> Findings:
    """Load, take PostgreSQL away and back, settle, compare."""
    tokens, growth = tokens_for(instance), Growth(instance)
    watching = asyncio.create_task(growth.watch())
    async with load(instance.urls, token_for=tokens, pace=pace, prefix=_PREFIX) as ledger:
        await asyncio.sleep(_BEFORE_SECONDS)
        before, before_reads = _counts(ledger), Counter(ledger.reads)
        say(f"PostgreSQL stops; until now {before}")
        await instance.stop_server("postgres")
        await _pass(minutes * 60, lambda: f"{_counts(ledger)} reads {dict(ledger.reads)} MiB: {growth.now()}")
        during = {name: count - before[name] for name, count in _counts(ledger).items()}
        reads = ledger.reads - before_reads
        say(f"PostgreSQL starts; meanwhile {during}, reads {dict(reads)}")
        began = time.monotonic()
        await instance.start_server("postgres")
    watching.cancel()
    up_seconds = time.monotonic() - began
    done = await settled(instance, timeout_seconds=_SETTLE_SECONDS)
    committed_seconds = time.monotonic() - began
    wrong = await compare_rows(instance.postgres.spec.dsn, _PREFIX, ledger)
    cached = await read_back(instance.urls, tokens, ledger)
    whole_seconds = time.monotonic() - began
    await drop_caches(instance)
    cold = await read_back(instance.urls, tokens, ledger)
    parked = await parked_events(instance)
    say(
        f"after its start it answered in {up_seconds:.1f} s, everything was committed in"
        f" {committed_seconds:.1f} s, and read back whole in {whole_seconds:.1f} s"
    )
    say(f"{dict(wrong)}, parked {parked}; read back {dict(cached)}, without caches {dict(cold)}")
    checks = {
        **{f"{count} messages {kind}": count > 0 for kind, count in wrong.items()},
        **{f"reading back: {count} {kind}": count > 0 for kind, count in (cached + cold).items()},
        f"{parked} events parked": parked > 0,
        "not everything was committed": not done,
        "no append was acknowledged meanwhile": during["acknowledged"] == 0,
        f"appends were not acknowledged: {dict(ledger.others)}": bool(ledger.others) or ledger.refused > 0,
        f"cached reads were not answered: {dict(reads)}": reads.keys() != {"200"},
    }
    return {
        "problems": [text for text, is_so in checks.items() if is_so],
        "during": during,
        "reads": dict(reads),
        "wrong": dict(wrong),
        "read_back": {"cached": dict(cached), "cold": dict(cold)},
        "parked": parked,
        "seconds": {"answers": up_seconds, "committed": committed_seconds, "whole": whole_seconds},
        "bytes_of_processes": growth.thirds(),
    }


def _counts(ledger: Ledger) -> dict[str, Any]:
    return {
        "offered": ledger.offered,
        "acknowledged": ledger.taken,
        "refused": ledger.refused,
        "unknown": len(ledger.unknown),
    }


async def _pass(seconds: float, line: Callable[[], str]) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        await asyncio.sleep(min(_LINE_SECONDS, seconds - passed))
        say(f"{time.monotonic() - began:4.0f} s away: {line()}")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.outage", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--appends", type=float, default=20.0, help="requests/s of two messages (20)")
    parser.add_argument("--reads", type=float, default=40.0, help="requests/s (40)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pace = Pace(given.clients, given.appends, batch=2, reads=given.reads)
    return run_on_instance(
        lambda instance: outage(instance, given.minutes, pace), tuning=_TUNING, json=given.json
    )


if __name__ == "__main__":
    sys.exit(main())

"""`turnlog drain`: wait until PostgreSQL has all that is on the log."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from common.assembly import keys_for
from common.domain.errors import LogUnavailable
from common.domain.ids import Position
from common.observability.logging import configure_logging
from common.redis.breaker import BreakerBoard
from common.redis.commands import Client
from common.redis.connect import connect
from common.redis.dead import DeadLetters
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup, PartitionLag
from common.redis.heartbeats import Heartbeats, Reading
from common.redis.keys import Keys
from common.settings import Settings
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir
from tools.settling import STALL_SECONDS

POLL_SECONDS: Final = 0.2
NOT_DRAINED: Final = 1
PARKED: Final = 3


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain ended. `waiting` events are not in PostgreSQL, because of `reason`; `parked` never will be
    by themselves. `settled_at_start`: what was on the log when it began is in PostgreSQL."""

    drained: bool
    settled_at_start: bool
    waiting: int
    parked: int
    seconds: float
    reason: str | None = None


def drain(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Wait so many seconds, even while nothing moves. Without: until it stalls."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Wait until nothing is pending on the log: before a roll-back, a backup, a change of version.

    Stop the gateways first, or new events may keep coming for ever. Status 0: PostgreSQL has everything.
    1: it has not, and standard error says why. 3: nothing is pending, but events are parked.
    """
    settings = load_instance(data_dir)
    quiet = settings.observability.model_copy(update={"log_level": "error"})
    configure_logging("drain", quiet)
    if not settings.uses_redis:
        raise CommandError(f"CHAT_HISTORY_MODE={settings.mode} has no log: PostgreSQL always has everything")
    try:
        outcome = asyncio.run(_drain(settings, timeout))
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted; nothing is lost, and what is pending is still being written"
        ) from None
    if as_json:
        print(json.dumps(asdict(outcome)))
    else:
        _say(outcome)
    if not outcome.drained:
        raise typer.Exit(NOT_DRAINED)
    if outcome.parked:
        raise typer.Exit(PARKED)


async def _drain(settings: Settings, patience: float | None) -> Drained:
    client, keys = connect(settings.redis), keys_for(settings)
    group = ConsumerGroup(Functions(client), keys, settings.redis)
    try:
        with _shown_progress() as progress:
            return await Drain(client, keys, group, progress).run(patience)
    except LogUnavailable as error:
        raise CommandError(str(error)) from error
    finally:
        await client.aclose()


class Drain:
    """One wait."""

    def __init__(self, client: Client, keys: Keys, group: ConsumerGroup, progress: Shown) -> None:
        self._client = client
        self._keys = keys
        self._group = group
        self._progress = progress
        self._seen: object = None
        self._moved = time.monotonic()

    async def run(self, patience: float | None) -> Drained:
        """Wait for `patience` seconds, or as long as anything moves."""
        began = time.monotonic()
        first, _ = await self._look()
        while True:
            ends, lags = await self._look()
            left = sum(_left(end, lags[partition]) for partition, end in ends.items())
            old = all(p not in lags or lags[p].has_settled(end) for p, end in first.items())
            if not left or self._is_over(patience, began):
                return Drained(
                    drained=not left,
                    settled_at_start=old,
                    waiting=left,
                    parked=await DeadLetters(Functions(self._client), self._keys).count(),
                    seconds=round(time.monotonic() - began, 1),
                    reason=await self._reason(old) if left else None,
                )
            self._progress.left(left)
            self._notice(lags)
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> tuple[dict[int, Position], dict[int, PartitionLag]]:
        """Where the log ends and, asked after that, how far each partition is."""
        partitions = range(self._keys.partitions)
        ends = {partition: await self._group.end(partition) for partition in partitions}
        found = {partition: end for partition, end in ends.items() if end}
        return found, {partition: await self._group.lag(partition) for partition in found}

    def _notice(self, lags: dict[int, PartitionLag]) -> None:
        seen = [(lag.delivered, lag.oldest_pending, lag.pending) for lag in lags.values()]
        if seen != self._seen:
            self._seen, self._moved = seen, time.monotonic()

    def _is_over(self, patience: float | None, began: float) -> bool:
        now = time.monotonic()
        return now - began >= patience if patience is not None else now - self._moved > STALL_SECONDS

    async def _reason(self, settled_at_start: bool) -> str:
        breaker = await BreakerBoard(self._client, self._keys).read()
        if breaker is not None:
            return (
                f"the persister's breaker is open: PostgreSQL refuses most events ({breaker.error}); mend the"
                " cause, or park them with `turnlog dead park`"
            )
        if not await Heartbeats(Functions(self._client), self._keys).is_alive(Reading.PERSISTER):
            return "no persister is reading the log: start one (./turnlog up, or ./turnlog persister)"
        if settled_at_start:
            return "new events keep coming: stop the gateways first (what was there at the start is written)"
        if time.monotonic() - self._moved > STALL_SECONDS:
            return "a persister reads the log, but nothing is written: is PostgreSQL there? (turnlog status)"
        return "the time is up; the persister is still writing"


def _left(end: Position, lag: PartitionLag) -> int:
    """How many events of a partition are not settled. Redis does not always know how many are unread."""
    if lag.has_settled(end) and not lag.pending:
        return 0
    return max(1, lag.waiting + lag.pending)


def _say(outcome: Drained) -> None:
    if outcome.drained:
        print(f"drained in {outcome.seconds:,.1f} s: nothing is pending")
    else:
        print(f"not drained: {outcome.waiting:,} events wait; {outcome.reason}", file=sys.stderr)
    if outcome.parked:
        print(
            f"{outcome.parked:,} events are parked and not in PostgreSQL: see turnlog dead list",
            file=sys.stderr,
        )


class Shown(Protocol):
    """What a drain tells while it waits."""

    def left(self, events: int) -> None:
        """So many events are not settled."""
        ...


class _Nothing:
    def left(self, events: int) -> None:
        """Nobody watches."""


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("draining", total=None, left="")
        self._most = 0

    def left(self, events: int) -> None:
        """So many events are left; the bar is of the most there ever were."""
        self._most = max(self._most, events)
        self._bar.update(
            self._task, total=self._most, completed=self._most - events, left=f"{events:,} events left"
        )


@contextmanager
def _shown_progress() -> Generator[Shown]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Nothing()
        return
    columns = (TextColumn("draining"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)

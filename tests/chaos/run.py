"""One run: start, use, attack, heal, settle, read everything, judge."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console

from tests.chaos.caches import drop_caches, parked_events
from tests.chaos.checker import check
from tests.chaos.final import read_finally
from tests.chaos.gate import Gate
from tests.chaos.history import Operation, Recorder, read_history
from tests.chaos.instance import Instance
from tests.chaos.logs import alarms, worker_ends
from tests.chaos.losses import Loss, losses_beside, save_losses
from tests.chaos.memory import Peaks
from tests.chaos.nemesis import Nemesis
from tests.chaos.options import Options
from tests.chaos.outcome import Result
from tests.chaos.recovery import Recovery, token_for
from tests.chaos.settled import settled
from tests.chaos.stored import Record, load_record, record_beside
from tests.chaos.table import print_result
from tests.chaos.verdict import Verdict
from tests.chaos.workload import run_workload

SETTLE_SECONDS: Final = 120.0
_WARM_UP_SECONDS: Final = 2.0


async def run(options: Options, data: Path, kept: Path) -> int:
    """Do what `options` say with an instance in `data`; evidence goes to `kept`. The exit status."""
    say(f"seed {options.seed}; to repeat: {options.command}")
    began = time.monotonic()
    gate = Gate()
    instance = Instance(data, gate, report=lambda text: say(f"FINDING: {text}"))
    with Recorder(kept / "history.jsonl") as recorder:
        try:
            result = await _attacked(instance, options, recorder, kept)
        finally:
            await instance.stop()
            shutil.copytree(instance.logs, kept / "logs", dirs_exist_ok=True)
    print_result(result, Console(width=100))
    if options.json:
        options.json.write_bytes(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    return _conclude(result, options, kept, time.monotonic() - began)


def say(text: str) -> None:
    """A line for whoever watches, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201


async def _attacked(instance: Instance, options: Options, recorder: Recorder, kept: Path) -> Result:
    await instance.start()
    peaks = Peaks(instance)
    nemesis = Nemesis(
        instance,
        options.kinds,
        seed=options.seed,
        record=kept / "faults.jsonl",
        report=say,
        longest_seconds=options.longest_seconds,
    )
    for name, reason in nemesis.deeds.impossible.items():
        say(f"{name} is not possible here: {reason}")
    began = time.monotonic()
    async with _in_background(peaks.watch()), _workload(instance, options, recorder):
        await asyncio.sleep(_WARM_UP_SECONDS)
        if options.kinds:
            await nemesis.run(began + options.minutes * 60)
        else:
            await asyncio.sleep(options.minutes * 60)
    seconds = time.monotonic() - began
    say("all healed; waiting until everything is in PostgreSQL")
    trouble = (
        [] if await Recovery(instance).wait(SETTLE_SECONDS) else ["the system did not get well at the end"]
    )
    done = await settled(instance, timeout_seconds=SETTLE_SECONDS)
    verdict = Verdict()
    try:
        verdict = await _judge(instance, recorder, nemesis.deeds.losses)
    except TimeoutError as error:
        trouble.append(f"no verdict: {error}")
    return Result(
        seed=options.seed,
        command=options.command,
        seconds=seconds,
        verdict=verdict,
        deeds=nemesis.deeds,
        calls=dict(recorder.counts),
        kills=instance.kills,
        crashes=(*instance.deaths.unexpected, *_workers_that_ended(instance)),
        parked=await parked_events(instance),
        settled=done,
        peak_bytes=peaks.bytes,
        alarms=alarms(instance.logs, {event for kind in options.kinds for event in kind.explains}),
        trouble=tuple(trouble),
    )


def _workers_that_ended(instance: Instance) -> list[str]:
    ended = worker_ends(instance.logs) - instance.part_kills["gateway"]
    return [f"{ended} workers of gateways ended by themselves"] if ended > 0 else []


async def _judge(instance: Instance, recorder: Recorder, losses: Sequence[Loss]) -> Verdict:
    save_losses(losses, losses_beside(recorder.path))
    recorder.flush()
    operations = await asyncio.to_thread(read_history, recorder.path)
    read = partial(_read_finally, instance, recorder, operations)
    say(
        f"reading everything back, {len(operations):,} operations: first as it is cached, then without caches"
    )
    await read()
    say(f"{await drop_caches(instance)} cached keys dropped")
    await read()
    record = await load_record(instance.postgres.spec.dsn, {operation.user for operation in operations})
    record.save(record_beside(recorder.path))
    recorder.flush()
    return await asyncio.to_thread(_check, recorder.path, record, losses)


async def _read_finally(instance: Instance, recorder: Recorder, operations: Sequence[Operation]) -> None:
    await read_finally(
        instance.urls,
        token_for=_tokens(instance),
        recorder=recorder,
        operations=operations,
    )


def _check(history: Path, record: Record, losses: Sequence[Loss]) -> Verdict:
    return check(read_history(history), record, losses)


@asynccontextmanager
async def _workload(instance: Instance, options: Options, recorder: Recorder) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_workload(
            instance.urls,
            token_for=_tokens(instance),
            recorder=recorder,
            seed=options.seed,
            clients=options.clients,
            users=options.users,
            pace=options.pace,
            stop=stop,
            pause=instance.gate,
        )
    )
    try:
        yield
    finally:
        stop.set()
        # An error of the workload's own ends the run: there would be nothing to judge.
        await task


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _tokens(instance: Instance) -> Callable[[str], str]:
    """Tokens, each made once: to sign one for every call would be half of the load."""
    made: dict[str, str] = {}

    def token(user: str) -> str:
        if user not in made:
            made[user] = token_for(instance, user)
        return made[user]

    return token


def _conclude(result: Result, options: Options, kept: Path, seconds: float) -> int:
    if not result.problems:
        say(f"passed, in {seconds:.0f} s")
        if options.keep:
            say(f"kept: {kept}")
        else:
            shutil.rmtree(kept)
        return 0
    print(result.verdict.text())  # noqa: T201
    for problem in result.problems:
        print(f"FAILED: {problem}", file=sys.stderr)  # noqa: T201
    say(f"history, faults and logs: {kept}")
    say(f"to repeat: {options.command}")
    return 1

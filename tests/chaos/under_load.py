"""A command that puts an instance under a load: its directory, its end, and how its findings are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop

from common.runtime import STOP_SIGNALS, exit_with_parent
from tests.chaos import clock
from tests.chaos.gate import Gate
from tests.chaos.instance import Instance
from tests.chaos.recovery import token_for
from tests.servers import DIRECTORY_PREFIX, remove_what_killed_sessions_left

Findings = dict[str, Any]
"""What was seen, for programs; `problems` is a list of what must not be."""


def say(text: str) -> None:
    """A line for whoever watches, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201


def run_on_instance(
    work: Callable[[Instance], Awaitable[Findings]], *, tuning: Mapping[str, str], json: Path | None
) -> int:
    """Do `work` with an instance of its own, say what was found; 1 where that has problems."""
    exit_with_parent(grace_seconds=60)
    remove_what_killed_sessions_left()
    data = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-"))
    try:
        found = uvloop.run(_until_stopped(work, data, tuning))
    except asyncio.CancelledError:
        return 130
    finally:
        shutil.rmtree(data, ignore_errors=True)
        clock.remove_leftovers()
    if json:
        json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    for problem in found["problems"]:
        print(f"FAILED: {problem}", file=sys.stderr)  # noqa: T201
    say("FAILED" if found["problems"] else "passed")
    return 1 if found["problems"] else 0


def tokens_for(instance: Instance) -> Callable[[str], str]:
    """Tokens, each made once: to sign one for every call would be half of the load."""
    made: dict[str, str] = {}

    def token(user: str) -> str:
        if user not in made:
            made[user] = token_for(instance, user)
        return made[user]

    return token


async def _until_stopped(
    work: Callable[[Instance], Awaitable[Findings]], data: Path, tuning: Mapping[str, str]
) -> Findings:
    task = asyncio.ensure_future(_started(work, data, tuning))
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        with suppress(ValueError):
            loop.add_signal_handler(signal.Signals(number), task.cancel)
    return await task


async def _started(
    work: Callable[[Instance], Awaitable[Findings]], data: Path, tuning: Mapping[str, str]
) -> Findings:
    instance = Instance(data, Gate(), report=lambda text: say(f"FINDING: {text}"), tuning=tuning)
    try:
        await instance.start()
        found = await work(instance)
    finally:
        await instance.stop()
    found["problems"] += instance.deaths.unexpected
    return found

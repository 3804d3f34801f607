"""Many clients at once: they do over HTTP whatever a client may do, and write down what they are told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from tests.chaos.caller import Caller, http_client
from tests.chaos.client import Client
from tests.chaos.gate import Gate
from tests.chaos.history import Recorder
from tests.chaos.steps import Shelf


async def run_workload(
    gateways: Sequence[str],
    *,
    token_for: Callable[[str], str],
    recorder: Recorder,
    seed: int,
    clients: int,
    stop: asyncio.Event,
    pause: Gate,
    users: int = 4,
    pace: float = 200.0,
    run: str | None = None,
    timeout_seconds: float = 5.0,
) -> None:
    """Drive `gateways` (base URLs) until `stop` is set; every call through a gateway chosen anew.

    `token_for` gives a user's bearer token. `clients` are spread over `users`; those of one user share
    conversations. The same `seed` gives each client the same plan. `pace` is calls per second of all clients
    together, on the mean: what an outage has held up is made up for, up to ten seconds of it. Users are named
    `chaos-<run>-<n>`; a `run` of its own (the default) meets nothing of an earlier one. A call that takes
    longer than `timeout_seconds` is given up, its outcome unknown.
    """
    prefix = f"chaos-{run or secrets.token_hex(4)}"
    shelves = [Shelf(f"{prefix}-{number}") for number in range(users)]
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        # A pool for each: a shared one is looked through at every call.
        https = [await stack.enter_async_context(http_client(2 * len(gateways))) for _ in range(clients)]
        running = [
            group.create_task(
                Client(
                    number,
                    Caller(http, token_for, recorder, timeout_seconds, pause),
                    gateways,
                    shelf=shelves[number % users],
                    foreign=shelves[(number + 1) % users],
                    mean_pause=clients / pace,
                    stop=stop,
                ).run(seed)
            )
            for number, http in enumerate(https)
        ]
        await stop.wait()
        # Who waits at a paused gate, or for a server that stands still, has had its time by then.
        await asyncio.wait(running, timeout=2 * timeout_seconds)
        for task in running:
            task.cancel()

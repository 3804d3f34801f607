"""Many clients at once: they do over HTTP whatever a client may do, and write down what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.chaos.gate import Gate
from tests.chaos.history import Recorder


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
    together. Users are named `chaos-<run>-<n>`; a `run` of its own (the default) meets nothing of an earlier
    one. A call that takes longer than `timeout_seconds` is given up, its outcome unknown.
    """
    raise NotImplementedError

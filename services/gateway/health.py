"""Is this process alive, and is all that it needs there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from pydantic_core import to_json

from common.checks.errors import FieldError
from services.gateway import examples, problems
from services.gateway.operations import Call, Reply, Success, operation
from services.gateway.problems import Problem
from services.gateway.queries import Query
from services.gateway.schemas import Health as HealthSchema

PROBE_SECONDS: Final = 3.0

Probe = Callable[[], Awaitable[str | None]]
"""Says what is wrong, in a few words that anybody may see, or None; raising counts as `unreachable`."""

log = structlog.get_logger(__name__)


class Health:
    """Liveness and readiness. `probes` are asked by name, all at once."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes

    @operation(
        "GET",
        "/healthz",
        summary="Alive",
        tag="operation",
        public=True,
        successes={200: Success("This process answers.", HealthSchema, examples.HEALTHY)},
    )
    async def healthz(self, _: Call[Query]) -> Reply:
        """Needs nothing else to be there."""
        return Reply(200, to_json({"status": "ok", "checks": {}}))

    @operation(
        "GET",
        "/readyz",
        summary="Ready",
        tag="operation",
        public=True,
        successes={200: Success("What it needs is there.", HealthSchema, examples.READY)},
        problems=(problems.UNAVAILABLE,),
    )
    async def readyz(self, _: Call[Query]) -> Reply:
        """503 names what is missing."""
        names = list(self._probes)
        states = await asyncio.gather(*(self._ask(name) for name in names))
        missing = {name: state for name, state in zip(names, states, strict=True) if state}
        if missing:
            raise Problem(
                problems.UNAVAILABLE,
                "; ".join(f"{name}: {state}" for name, state in missing.items()),
                errors=[FieldError(name, state) for name, state in missing.items()],
                headers={"Retry-After": "1"},
            )
        return Reply(200, to_json({"status": "ready", "checks": dict.fromkeys(names, "ok")}))

    async def _ask(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._probes[name]()
        except Exception as error:  # whatever it is, the answer is the same: not ready
            log.warning("not_ready", part=name, reason=repr(error))
            return "unreachable"

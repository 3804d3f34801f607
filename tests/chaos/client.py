"""One client of the workload: takes its steps, remembers what its user has, repeats what it may repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tests.chaos.asks import Ask
from tests.chaos.caller import Caller
from tests.chaos.history import APPENDS, Kind, Outcome
from tests.chaos.plan import Action, Step, plan
from tests.chaos.steps import Shelf, ask_for

REPEATS: Final = 4
HASTE_SECONDS: Final = 0.004
IMPATIENT_SHARE: Final = 0.2  # of what was answered and may be repeated, is
MOST_BEHIND_SECONDS: Final = 10.0


class Client:
    """Client `number` of the workload, one of its user's. `foreign` is another user's shelf."""

    def __init__(
        self,
        number: int,
        caller: Caller,
        gateways: Sequence[str],
        *,
        shelf: Shelf,
        foreign: Shelf,
        mean_pause: float,
        stop: asyncio.Event,
    ) -> None:
        self._number = number
        self._caller = caller
        self._gateways = gateways
        self._shelf = shelf
        self._foreign = foreign
        self._mean_pause = mean_pause
        self._stop = stop
        self._calls = 0

    async def run(self, seed: int) -> None:
        """Take one step after the other until it is time to stop."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for step in plan(seed, self._number):
            due = max(due + step.pause * self._mean_pause, clock() - MOST_BEHIND_SECONDS)
            await self._rest(max(0, due - clock()))
            if self._stop.is_set():
                return
            await self._take(step)

    async def _take(self, step: Step) -> None:
        self._calls += 1
        id_ = f"{self._number}.{self._calls}"
        gateway = self._gateways[int(step.gateway * len(self._gateways))]
        if step.action is Action.WALK:
            await self._caller.walk(self._shelf.user, gateway, id_=id_, client=str(self._number))
            return
        ask = ask_for(step, id_, self._shelf, self._foreign)
        within = HASTE_SECONDS if step.hasty else None
        operation = await self._caller.call(ask, gateway, id_=id_, client=str(self._number), within=within)
        self._shelf_of(ask).learn(operation)
        if operation.outcome is Outcome.UNKNOWN:
            await self._repeat(ask, id_, gateway, times=REPEATS)
        elif operation.ok and step.place < IMPATIENT_SHARE and ask.kind is not Kind.DELETE:
            await self._repeat(ask, id_, gateway, times=1)

    async def _repeat(self, ask: Ask, first: str, gateway: str, *, times: int) -> None:
        """Ask again, elsewhere and after a while, what is safe to ask again: by key, by ids, or a delete."""
        for attempt in range(times if _repeatable(ask) else 0):
            await self._rest(0.05 * 4**attempt)
            if self._stop.is_set():
                return
            at = (self._gateways.index(gateway) + 1 + attempt) % len(self._gateways)
            operation = await self._caller.call(
                ask, self._gateways[at], id_=f"{first}r{attempt}", client=str(self._number), retry_of=first
            )
            self._shelf_of(ask).learn(operation)
            if operation.outcome is not Outcome.UNKNOWN:
                return

    def _shelf_of(self, ask: Ask) -> Shelf:
        conversation = ask.arguments.conversation
        return self._foreign if conversation in self._foreign.alive else self._shelf

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _repeatable(ask: Ask) -> bool:
    """Whether asking twice does it once."""
    if ask.arguments.key or ask.kind is Kind.DELETE:
        return True
    if ask.kind is Kind.CREATE:
        return ask.arguments.conversation is not None
    named = ask.body is not None and b'"id":' in ask.body
    return ask.kind in APPENDS and named and ask.arguments.conversation is not None

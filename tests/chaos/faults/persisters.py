"""Two persisters that both believe the same entries to be theirs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import asyncpg

from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.faults.processes import Frozen
from tests.chaos.instance import CLAIM_IDLE_SECONDS, Instance

_HOLD_SECONDS: Final = 0.5


class Fight(Fault):
    """One stands still with entries in its hands until the other has taken them over; then it wakes.

    A lock on the table makes sure that it has some: it stops while it waits for it.
    """

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self.target = dice.random.choice(["persister-1", "persister-2"])
        self.seconds = CLAIM_IDLE_SECONDS + dice.random.uniform(0.5, min(6.0, dice.longest))
        self._instance = instance
        self._frozen = Frozen(instance, self.target)

    async def inject(self) -> None:
        connection = await asyncpg.connect(self._instance.postgres.spec.dsn, timeout=10)
        try:
            with suppress(asyncpg.PostgresError):
                await connection.execute("SET lock_timeout = '5s'")
                await connection.execute("BEGIN")
                await connection.execute("LOCK TABLE messages IN SHARE MODE")
                await asyncio.sleep(_HOLD_SECONDS)
            self._frozen.stop()
        finally:
            await connection.close(timeout=5)

    async def heal(self) -> None:
        self._frozen.wake()

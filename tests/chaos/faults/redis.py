"""What can happen to Redis short of `kill -9`: it comes back older, or its memory is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from services.persister.retrying import LONGEST_WAIT_SECONDS
from tests.chaos.aof import CutBack, cut_back
from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.faults.processes import Frozen
from tests.chaos.instance import Instance
from tests.chaos.losses import Loss, not_stored
from tests.chaos.settled import settled

_SETTLE_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 1.0


class ComeBackOlder(Fault):
    """Redis dies and comes back without the last 1 to 30 seconds of its log, all of which PostgreSQL has.

    What was acknowledged and is not yet in PostgreSQL would rightly be lost, so the workload is held back
    until everything is.
    """

    target = "redis"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self._instance = instance
        self._back_seconds = dice.random.uniform(1, 30)

    async def inject(self) -> None:
        instance = self._instance
        instance.gate.pause()
        await instance.gate.idle()
        if not await settled(instance, timeout_seconds=_SETTLE_SECONDS):
            raise TimeoutError("not everything reached PostgreSQL, so Redis may not be cut back")
        self.target = f"redis ({await _cut_back(instance, self._back_seconds)})"

    async def heal(self) -> None:
        try:
            await self._instance.wait_answers("redis")
        finally:
            self._instance.gate.resume()


class LoseTail(Fault):
    """The same under load, as a machine may die whose disk lied: nobody waits for anything.

    What only the log had is lost for good; `loss` says what. Sometimes one persister or both stand still from
    a moment before until a moment after, with entries in their hands: then more is lost, and some of it comes
    to PostgreSQL after Redis has given its numbers again (ADR 0091).
    """

    target = "redis"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self._instance = instance
        self._back_seconds = dice.random.uniform(1, 30)
        still = dice.random.choice([(), ("persister-1",), ("persister-1", "persister-2")])
        self._still = [Frozen(instance, name) for name in still]
        self._before_seconds = dice.random.uniform(0.05, 1.5) if still else 0.0
        self.seconds = dice.random.uniform(0.05, 3.0) if still else 0.0

    async def inject(self) -> None:
        for frozen in self._still:
            frozen.stop()
        await asyncio.sleep(self._before_seconds)
        found: list[Loss] = []
        killed_ns = time.monotonic_ns()

        def look(cut: CutBack) -> None:
            dead_ns, dsn = time.monotonic_ns(), self._instance.postgres.spec.dsn
            # In a thread, and waited for: Redis must not be back before this is known.
            with ThreadPoolExecutor(1) as thread:
                count, lost = thread.submit(asyncio.run, not_stored(dsn, cut.events)).result()
            found.append(Loss(killed_ns, dead_ns, None, count, lost))

        cut = await _cut_back(self._instance, self._back_seconds, look)
        [self.loss] = found
        still = f", {len(self._still)} persisters stood still" if self._still else ""
        self.target = f"redis ({cut}, {len(self.loss.events)} of {self.loss.cut} events lost{still})"
        await self._instance.wait_answers("redis")

    async def heal(self) -> None:
        try:
            await self._instance.wait_answers("redis")
        finally:
            for frozen in self._still:
                frozen.wake()
        if self.loss is not None and self.loss.events:
            # What a persister has in its hands is on no log by which it could be seen to be settled.
            await asyncio.sleep(LONGEST_WAIT_SECONDS + _MARGIN_SECONDS)


async def _cut_back(
    instance: Instance, seconds: float, look: Callable[[CutBack], None] = lambda _: None
) -> CutBack:
    """Kill Redis, cut its log, and let it be started on what is left; `look` is called in between."""
    valkey = instance.valkey
    done: asyncio.Future[CutBack] = asyncio.get_running_loop().create_future()

    def cut() -> None:
        valkey.before_start = lambda: None
        try:
            taken = cut_back(valkey.data / "appendonlydir", seconds)
            look(taken)
        except Exception as failure:  # whoever starts the server has nothing to do with it
            done.set_exception(failure)
        else:
            done.set_result(taken)

    family = instance.family("redis")
    if not family:
        raise LookupError("redis is not running")
    valkey.before_start = cut
    try:
        instance.expect_death("redis")
        family[0].kill()
        return await asyncio.wait_for(done, 30)
    finally:
        valkey.before_start = lambda: None


class MemoryFull(Fault):
    """`maxmemory` is reached: Redis refuses every command that may need memory."""

    target = "redis"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self.seconds = dice.seconds(0.5, 8.0)
        self._instance = instance

    async def inject(self) -> None:
        async with redis.asyncio.Redis.from_url(self._instance.valkey.spec.dsn) as client:
            used = int((await client.info("memory"))["used_memory"])
            await client.config_set("maxmemory", used - 1)

    async def heal(self) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    async with redis.asyncio.Redis.from_url(self._instance.valkey.spec.dsn) as client:
                        await client.config_set("maxmemory", 0)
                        return
                except (RedisError, OSError):
                    await asyncio.sleep(0.1)

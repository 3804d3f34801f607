"""What can happen to Redis short of `kill -9`: it comes back older, or its memory is full."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from tests.chaos.aof import CutBack, cut_back
from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import Instance
from tests.chaos.settled import settled

_SETTLE_SECONDS: Final = 60.0
# The log's annotations are whole seconds of a clock that the server reads now and then.
_CLOCK_MARGIN_SECONDS: Final = 1


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
    """The same under load, as a machine with `appendfsync everysec` may die: nobody waits for anything.

    What was acknowledged in the seconds that are gone may be lost, or be in PostgreSQL under numbers that are
    given again; what is older, or comes later, is held to every promise.
    """

    target = "redis"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self._instance = instance
        self._back_seconds = dice.random.uniform(1, 5)
        self._gone_from_ns = 0

    async def inject(self) -> None:
        cut = await _cut_back(self._instance, self._back_seconds)
        self.target = f"redis ({cut})"
        age_ns = time.time_ns() - (cut.kept_until - _CLOCK_MARGIN_SECONDS) * 1_000_000_000
        self._gone_from_ns = time.monotonic_ns() - age_ns

    async def heal(self) -> None:
        await self._instance.wait_answers("redis")
        self.forgiven = (self._gone_from_ns, time.monotonic_ns())


async def _cut_back(instance: Instance, seconds: float) -> CutBack:
    """Kill Redis, cut its log, and let it be started on what is left."""
    valkey, done = instance.valkey, asyncio.Event()
    found: list[CutBack] = []

    def cut() -> None:
        found.append(cut_back(valkey.data / "appendonlydir", seconds))
        done.set()

    family = instance.family("redis")
    if not family:
        raise LookupError("redis is not running")
    valkey.before_start = cut
    try:
        instance.expect_death("redis")
        family[0].kill()
        await asyncio.wait_for(done.wait(), 30)
    finally:
        valkey.before_start = lambda: None
    return found[0]


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

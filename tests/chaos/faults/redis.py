"""What can happen to Redis short of `kill -9`: it comes back older, or its memory is full."""

from __future__ import annotations

import asyncio
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from tests.chaos.aof import CutBack, cut_back
from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import Instance
from tests.chaos.settled import settled

_SETTLE_SECONDS: Final = 60.0


class ComeBackOlder(Fault):
    """Redis dies and comes back without the last 1 to 30 seconds of its log, all of which PostgreSQL has.

    What was acknowledged and is not yet in PostgreSQL would rightly be lost, so the workload is held back
    until everything is.
    """

    target = "redis"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self._instance = instance
        self._back_seconds = dice.random.uniform(1, 30)
        self.target = f"redis (-{self._back_seconds:.1f} s)"

    async def inject(self) -> None:
        instance = self._instance
        instance.gate.pause()
        await instance.gate.idle()
        if not await settled(instance, timeout_seconds=_SETTLE_SECONDS):
            raise TimeoutError("not everything reached PostgreSQL, so Redis may not be cut back")
        valkey, done = instance.valkey, asyncio.Event()
        found: list[CutBack] = []

        def cut() -> None:
            found.append(cut_back(valkey.data / "appendonlydir", self._back_seconds))
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
        self.target = f"redis ({found[0]})"

    async def heal(self) -> None:
        await self._instance.wait_answers("redis")
        self._instance.gate.resume()


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

"""One link that is cut, slow, half-open or loses answers."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final

from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import Instance
from tests.chaos.proxy import Direction, Proxy


class _Link(Fault):
    """A fault of one link between a service and a server."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        links = [link for (source, _), link in instance.links.items() if source != "clients"]
        self.link = dice.random.choice(links)
        self.target = self.link.name
        self.seconds = dice.seconds()

    async def heal(self) -> None:
        self.link.heal()


class Cut(_Link):
    """Connections are cut, and for as long as it lasts no new one is taken."""

    async def inject(self) -> None:
        self.link.refuse()


class Delay(_Link):
    """Everything that way, or both ways, is late."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        super().__init__(instance, dice)
        self._late = dice.seconds(0.02, 2.0)
        self._ways = dice.random.choice([[Direction.REQUESTS], [Direction.REPLIES], list(Direction)])
        self.target += f" ({self._late:.2f} s)"

    async def inject(self) -> None:
        for way in self._ways:
            self.link.delay(way, self._late)


class HalfOpen(_Link):
    """Nothing gets through that way, or either way, and nobody is told."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        super().__init__(instance, dice)
        self._ways = dice.random.choice([[Direction.REQUESTS], [Direction.REPLIES], list(Direction)])
        self.target += f" ({' and '.join(way.value for way in self._ways)})"

    async def inject(self) -> None:
        for way in self._ways:
            self.link.hold(way)


class _Repeated(Fault):
    """Something short that is done to a link again and again."""

    link: Proxy

    def __init__(self, dice: Dice) -> None:
        self._pauses = [dice.random.uniform(0.02, 0.4) for _ in range(16)]
        self._task: asyncio.Task[None] | None = None

    async def inject(self) -> None:
        self._task = asyncio.create_task(self._repeat())

    async def heal(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.link.heal()

    @abstractmethod
    async def strike(self, pause: float) -> None:
        """Once."""

    async def _repeat(self) -> None:
        while True:
            for pause in self._pauses:
                await asyncio.sleep(pause)
                await self.strike(pause)


class LostReplies(_Repeated, _Link):
    """Requests are carried out, their answers vanish, then the connection is cut; again and again."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        _Link.__init__(self, instance, dice)
        _Repeated.__init__(self, dice)

    async def strike(self, pause: float) -> None:
        self.link.swallow(Direction.REPLIES)
        await asyncio.sleep(pause)
        self.link.heal()


class ClientsLeave(_Repeated):
    """Clients close their connections in the middle of whatever they asked."""

    _LATENCY: Final = 0.02

    def __init__(self, instance: Instance, dice: Dice) -> None:
        super().__init__(dice)
        gateway = dice.random.choice(instance.gateways)
        self.link = instance.links["clients", gateway]
        self.target = self.link.name
        self.seconds = dice.seconds(0.5, 6.0)

    async def inject(self) -> None:
        # A little slower, so that more requests are under way.
        self.link.delay(Direction.REPLIES, self._LATENCY)
        await super().inject()

    async def strike(self, pause: float) -> None:
        self.link.cut()

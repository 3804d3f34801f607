"""A link that stops at a certain command: before the server has it, or when it is done and nobody knows."""

from __future__ import annotations

import asyncio

from tests.chaos.proxy import Direction, Proxy


class Tripwire(Proxy):
    """A proxy in front of a Redis. At the `nth` call of a function nothing goes any further.

    Where `carried_out`, the call itself still does: the server does it, and its reply never comes.
    """

    def __init__(self, server_port: int, function: str, nth: int, *, carried_out: bool) -> None:
        super().__init__(function, server_port)
        self.reached = asyncio.Event()
        self._name = f"{function}\r\n".encode()  # as an argument: not in the library's source
        self._left = nth
        self._carried_out = carried_out

    async def pass_on(self, direction: Direction, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if direction is Direction.REQUESTS and not self.reached.is_set():
            self._left -= chunk.count(self._name)
            if self._left <= 0:
                self.hold(Direction.REPLIES)
                if not self._carried_out:
                    self.hold(Direction.REQUESTS)
                self.reached.set()
                if self._carried_out:
                    writer.write(chunk)
                    await writer.drain()
                    return
        await super().pass_on(direction, chunk, writer)

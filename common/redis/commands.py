"""What sends commands to Redis, whether that is one server or a cluster of primaries."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Argument = str | bytes | int
Command = tuple[Argument, ...]

Ask = Callable[..., Awaitable[list[Any]]]
"""Sends commands over one fresh connection, each a tuple, and gives their replies; raises as redis-py."""
Admit = Callable[[Ask], Awaitable[None]]
"""Decides whether a fresh connection may be used; raises LogUnavailable where not."""


class Client(ABC):
    """Sends commands that name a key to the server that has it. Nothing is ever sent twice whose outcome is
    not known: whoever calls knows whether it may be.

    A command without a key is for a server, not for the log: `nodes` and `near` give those.
    """

    @property
    @abstractmethod
    def clustered(self) -> bool:
        """Whether the log is spread over the primaries of a cluster."""

    @property
    @abstractmethod
    def dsns(self) -> Sequence[str]:
        """The servers' URLs as far as they are known, at least one; passwords included."""

    @abstractmethod
    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """Queue `command` for the end of this tick; the future gets the reply as bytes, ints and lists.

        The future raises LogUnavailable when Redis is out of reach or refuses writes, and
        redis.exceptions.ResponseError for any other error reply.
        """

    @abstractmethod
    async def nodes(self) -> Sequence[Client]:
        """Every server that holds a part of the log, always in the same order. Raises LogUnavailable."""

    @abstractmethod
    async def near(self, key: str) -> Client:
        """The server that has `key`. Raises LogUnavailable."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections; what is under way fails."""

    async def call(self, *command: Argument) -> Any:
        """Send `command` and wait for its reply (see `send`)."""
        return await self.send(*command)

    async def call_together(self, *commands: Command) -> list[Any]:
        """Send several commands at once, those for one server in one write, and wait for all replies; raises
        the first failure."""
        futures = [self.send(*command) for command in commands]
        try:
            return [await future for future in futures]
        except BaseException:
            for future in futures:
                future.add_done_callback(seen)
            raise


def seen(future: asyncio.Future[Any] | asyncio.Task[Any]) -> None:
    """Take note of a failure that another failure already speaks for."""
    if not future.cancelled():
        future.exception()

"""Where a persister that has stopped parking says so, and where an operator says to park all the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter
from pydantic_core import to_json

from common.redis.commands import Client
from common.redis.keys import Keys


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A breaker that is open. `held` events can neither be stored nor, so many at once, be parked.

    `error` is the latest refusal's type and SQLSTATE, without what a user wrote.
    """

    since_ms: int
    held: int
    error: str
    by: str


_OPEN = TypeAdapter(OpenBreaker)


class BreakerBoard:
    """Two keys in Redis, for all persisters. Raises LogUnavailable (Redis away)."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def show(self, breaker: OpenBreaker, *, seconds: float) -> None:
        """Say that a breaker is open; forgotten after `seconds`, unless it is said again."""
        await self._client.call(
            "SET", self._keys.breaker(), to_json(asdict(breaker)), "PX", int(seconds * 1000)
        )

    async def clear(self) -> None:
        """Say that it is closed."""
        await self._client.call("DEL", self._keys.breaker())

    async def read(self) -> OpenBreaker | None:
        """The breaker that is open, if one is (of several, the one that spoke last)."""
        found: bytes | None = await self._client.call("GET", self._keys.breaker())
        return _OPEN.validate_json(found) if found else None

    async def permit_parking(self, seconds: int) -> None:
        """Let breakers park, for so long, whatever they refuse."""
        await self._client.call("SET", self._keys.parking_permit(), 1, "EX", seconds)

    async def parking_permitted(self) -> bool:
        """Whether an operator lets breakers park."""
        return await self._client.call("EXISTS", self._keys.parking_permit()) == 1

"""Turnlog's function library: put together from `lua/`, loaded into Redis, called by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from common.redis.client import Argument, RedisClient

LIBRARY: Final = "turnlog"
_USED_BY_OTHERS: Final = ("shared.lua", "pressure.lua")


@cache
def library_source() -> str:
    """The whole library: what the others use first, then one file for each group of functions."""
    folder = files("common.redis") / "lua"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".lua"))
    names = [*_USED_BY_OTHERS, *(name for name in names if name not in _USED_BY_OTHERS)]
    return "\n".join([f"#!lua name={LIBRARY}", *((folder / name).read_text() for name in names)])


class Functions:
    """Calls the library's functions; loads it where it is missing.

    Redis keeps a loaded library in its append-only file, so it is missing only on a new server or one
    that lost its data. An unknown function has done nothing: the call is safe to repeat.
    """

    def __init__(self, client: RedisClient) -> None:
        self.client = client

    async def load(self) -> None:
        """Put this program's library in place, whatever was there."""
        await self.client.call("FUNCTION", "LOAD", "REPLACE", library_source())

    async def is_current(self) -> bool:
        """Whether the server holds exactly this program's library."""
        found: list[Any] = await self.client.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE")
        return any(library_source().encode() in library for library in found)

    async def call(self, name: str, keys: list[str] | tuple[str, ...], *arguments: Argument) -> Any:
        """Call function `turnlog_<name>`; raises as `RedisClient.send` does."""
        command = ("FCALL", f"{LIBRARY}_{name}", len(keys), *keys, *arguments)
        try:
            return await self.client.send(*command)
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
            await self.load()
            return await self.client.send(*command)

"""Turnlog's function library: put together from `lua/`, loaded into Redis, called by name."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from common.domain.errors import LogUnavailable
from common.redis.commands import Argument, Client
from common.redis.keys import guard_beside

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

    def __init__(self, client: Client) -> None:
        self.client = client

    async def load(self) -> None:
        """Put this program's library in place on every server, whatever was there."""
        for node in await self.client.nodes():
            await _load(node)

    async def is_current(self) -> bool:
        """Whether every server holds exactly this program's library."""
        return all([await _is_current(node) for node in await self.client.nodes()])

    async def put_back(self) -> None:
        """Load the library where there is none: on a server that came back without its data. Raises
        LogUnavailable where no server answers."""
        nodes = await self.client.nodes()
        replies = await asyncio.gather(*map(_load_if_absent, nodes), return_exceptions=True)
        failures = [reply for reply in replies if isinstance(reply, BaseException)]
        away = [failure for failure in failures if isinstance(failure, LogUnavailable)]
        # Who needs a server that is away learns of it; the others' users are served.
        if len(away) < len(failures) or len(away) == len(nodes):
            raise failures[0]

    async def call(self, name: str, keys: list[str] | tuple[str, ...], *arguments: Argument) -> Any:
        """Call function `turnlog_<name>`; raises as `Client.send` does."""
        if self.client.clustered:
            # See lua/shared.lua: no function runs while its slot is on its way to another server.
            keys = (*keys, guard_beside(keys[0]))
        command = ("FCALL", f"{LIBRARY}_{name}", len(keys), *keys, *arguments)
        try:
            return await self.client.send(*command)
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
            await _load(await self.client.near(keys[0]))
            return await self.client.send(*command)


async def _load(node: Client) -> None:
    await node.call("FUNCTION", "LOAD", "REPLACE", library_source())


async def _load_if_absent(node: Client) -> None:
    if not await node.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY):
        await _load(node)


async def _is_current(node: Client) -> bool:
    found: list[Any] = await node.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE")
    return any(library_source().encode() in library for library in found)

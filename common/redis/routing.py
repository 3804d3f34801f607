"""Which slot of a cluster a command belongs to: that of its first key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from redis.crc import key_slot

from common.redis.commands import Argument, Command

SLOTS: Final = 16_384


class NoRoute(Exception):
    """A command of which is not known where its key is: a mistake in a program, never a guess."""


def slot_of(command: Command) -> int:
    """The slot of the first key. Raises NoRoute."""
    place = PLACES.get(str(command[0]))
    if place is None:
        raise NoRoute(f"no routing rule for {command[0]!r} (common/redis/routing.py)")
    return slot_of_key(place(command))


def slot_of_key(key: Argument) -> int:
    """The slot of a key: that of what stands between its first braces."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _first(command: Command) -> Argument:
    return command[1]


def _second(command: Command) -> Argument:
    return command[2]


def _behind_the_count(command: Command) -> Argument:
    return command[3]


def _behind_streams(command: Command) -> Argument:
    return command[command.index("STREAMS") + 1]


PLACES: Final[dict[str, Callable[[Command], Argument]]] = {
    **dict.fromkeys(
        (
            *("GET", "SET", "DEL", "UNLINK", "EXISTS", "PEXPIRE", "EXPIRE", "PTTL"),
            *(
                "LRANGE",
                "LINDEX",
                "HEXISTS",
                "HGET",
                "HMGET",
                "HSETNX",
                "HINCRBY",
                "ZRANGEBYSCORE",
                "ZREVRANGE",
            ),
            *("XADD", "XLEN", "XRANGE", "XREVRANGE", "XPENDING"),
        ),
        _first,
    ),
    **dict.fromkeys(("XGROUP", "XINFO"), _second),
    "FCALL": _behind_the_count,
    "XREADGROUP": _behind_streams,
}

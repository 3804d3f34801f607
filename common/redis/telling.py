"""Puts events of a record on a log, for whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.contract.stream import encode
from common.domain.errors import Overloaded
from common.domain.events import ConversationEvent, QueryLogged
from common.redis.commands import Argument
from common.redis.functions import Functions
from common.redis.keys import Keys

RETRY_SECONDS: Final = 0.5


async def tell(
    functions: Functions, keys: Keys, partition: int, events: Sequence[ConversationEvent | QueryLogged]
) -> None:
    """Put `events`, all of users of one partition, on its log: all or none.

    A record has them, so they are pending for nobody. Raises Overloaded where the log already holds half of
    what it may hold, and LogUnavailable; told twice is told once for whoever keeps to the contract.
    """
    words: list[Argument] = []
    for event in events:
        fields = encode(event)
        words.append(2 * len(fields))
        for pair in fields.items():
            words += pair
    reply: bytes | list[bytes] = await functions.call("tell", [keys.events(partition)], *words)
    if isinstance(reply, list):
        raise Overloaded(_reason(reply[1]), retry_after=RETRY_SECONDS)


def _reason(bound: bytes) -> str:
    if bound == b"memory":
        return "the log is short of memory (REDIS_MAX_MEMORY_PERCENT, REDIS_MAX_MEMORY_BYTES)"
    return f"the log is half as far behind PostgreSQL as it may be ({bound.decode()}): is its persister up?"

"""Events from the log, as far back as it is kept, up to where it ended when the replay began."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from common.contract.stream import decode
from common.domain.errors import MalformedEvent, UnsupportedVersion
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import Position, position_order
from common.redis.commands import Client
from common.redis.dead import void_positions
from common.redis.keys import Keys
from tools.replay.page import Cursor, Item, Page
from tools.replay.selection import Selection

PAGE: Final = 200
"""Entries read at once; one may hold a thousand messages."""


class LogSource:
    """Reads partition by partition. A cursor is a partition and a position."""

    def __init__(self, client: Client, keys: Keys, selection: Selection) -> None:
        self._client = client
        self._keys = keys
        self._selection = selection
        self._partitions = selection.partitions(keys)

    async def total(self) -> int | None:
        return sum([await self._client.call("XLEN", self._keys.events(p)) for p in self._partitions])

    async def pages(self, after: Cursor | None) -> AsyncGenerator[Page]:
        low, high = self._selection.positions()
        ends = {partition: await self._end(partition, high) for partition in self._partitions}
        reached = (int(after[0]), after[1]) if after else (-1, "")
        for partition, end in ends.items():
            if partition < reached[0] or end is None:
                continue
            start = f"({reached[1]}" if partition == reached[0] else low
            while found := await self._read(partition, start, end):
                items = [self._item(partition, *entry) for entry in found]
                void = await self._void(partition, found)
                wanted = [item for item in items if item is not None and item.position not in void]
                yield Page(wanted, len(found), _cursor(partition, found[-1][0]))
                start = f"({found[-1][0].decode()}"

    async def _end(self, partition: int, high: str) -> str | None:
        found = await self._client.call("XREVRANGE", self._keys.events(partition), high, "-", "COUNT", 1)
        return found[0][0].decode() if found else None

    async def _read(self, partition: int, start: str, end: str) -> list[Any]:
        if start.startswith("(") and position_order(Position(start[1:])) >= position_order(Position(end)):
            return []
        return await self._client.call("XRANGE", self._keys.events(partition), start, end, "COUNT", PAGE)

    async def _void(self, partition: int, found: list[Any]) -> set[Position]:
        """Those whose dead letter was dropped, or put back and stands elsewhere on this log."""
        first, last = Position(found[0][0].decode()), Position(found[-1][0].decode())
        return await void_positions(self._client, self._keys, partition, first, last)

    def _item(self, partition: int, position: bytes, flat: list[bytes]) -> Item | None:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if not self._selection.has(fields):
            return None
        event, problem = self._event(partition, fields)
        return Item(
            partition,
            event,
            _cursor(partition, position),
            Position(position.decode()),
            tuple(flat),
            problem,
        )

    def _event(
        self, partition: int, fields: dict[bytes, bytes]
    ) -> tuple[ConversationEvent | QueryLogged | None, str | None]:
        try:
            event = decode(fields)
        except (UnsupportedVersion, MalformedEvent) as error:
            return None, f"{type(error).__name__}: {error}"
        home = self._keys.partition(event.user_id)
        if home != partition:
            return None, f"MalformedEvent: its user's partition is {home}"
        return event, None


def _cursor(partition: int, position: bytes) -> Cursor:
    return str(partition), position.decode()

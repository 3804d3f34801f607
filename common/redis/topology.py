"""Which primary of a cluster has which slots, as one of its nodes tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from common.redis.routing import SLOTS


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def within(self, dsn: str) -> str:
        """`dsn` with this address: the same login, the same TLS."""
        url = urlsplit(dsn)
        login = url.netloc.rpartition("@")[:2]
        return urlunsplit(url._replace(netloc="".join(login) + str(self)))


def address_of(dsn: str) -> Address:
    """Where the server of an URL listens."""
    url = urlsplit(dsn)
    return Address(url.hostname or "127.0.0.1", url.port or 6379)


Ranges = frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Topology:
    """`owners` has an address for each slot, None where no primary serves it."""

    owners: Sequence[Address | None]
    ranges: dict[Address, Ranges]

    @property
    def primaries(self) -> list[Address]:
        """All that serve a slot, always in the same order: by their first slot."""
        return sorted(self.ranges, key=lambda address: min(self.ranges[address]))

    @property
    def served(self) -> int:
        """How many slots a primary serves; fewer than SLOTS may be what a node knows, not what there is."""
        return sum(last - first + 1 for ranges in self.ranges.values() for first, last in ranges)


NOTHING = Topology([None] * SLOTS, {})


def read_topology(reply: Sequence[Any], asked: Address) -> Topology:
    """The reply to CLUSTER SLOTS of the node at `asked`, which may not know its own name."""
    owners: list[Address | None] = [None] * SLOTS
    ranges: dict[Address, set[tuple[int, int]]] = defaultdict(set)
    for first, last, primary, *_ in reply:
        host, port = primary[0], primary[1]
        address = Address(host.decode() if host else asked.host, port)
        if address.host == "?":
            continue
        ranges[address].add((first, last))
        owners[first : last + 1] = [address] * (last + 1 - first)
    return Topology(owners, {address: frozenset(found) for address, found in ranges.items()})


def served_slots(reply: Sequence[Any], node: bytes) -> Ranges:
    """The slots that the node with this id serves as a primary, by its own CLUSTER SLOTS."""
    return frozenset((first, last) for first, last, primary, *_ in reply if primary[2] == node)

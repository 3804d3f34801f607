"""What this process put on the log and does not know to be in the record: whose standing nobody can tell
while the log is away. Pure bookkeeping."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from common.domain.ids import Position, position_order
from common.postgres.authority import Address, Proof

MAX_PROOFS: Final = 100
"""Of one conversation. With more unsettled than that, only the log can tell."""


@dataclass(slots=True, eq=False)
class Trail:
    """One conversation's events: the latest position, and what the record shows once it has them.

    `bounded` is False where an event's position is not known: the log's end, read after it, then bounds it.
    `certain` is False where the proofs are not of all events.
    """

    address: Address
    flying: int = 0
    position: Position | None = None
    bounded: bool = True
    certain: bool = True
    proofs: list[Proof] = field(default_factory=list[Proof])

    @property
    def empty(self) -> bool:
        return not self.flying and self.position is None and self.bounded


class Unsettled:
    """The trails of all conversations that this process changed lately, by partition, oldest change first."""

    def __init__(self, partition_of: Callable[[Address], int]) -> None:
        self._partition_of = partition_of
        self._trails: dict[int, OrderedDict[Address, Trail]] = {}
        self._loose: dict[int, set[Trail]] = {}
        self._newest: dict[int, Position] = {}

    def __len__(self) -> int:
        return sum(map(len, self._trails.values()))

    def begin(self, address: Address) -> Trail:
        """A change is being sent; one of the next three says what came of it."""
        trails = self._trails.setdefault(self._partition_of(address), OrderedDict())
        trail = trails.get(address)
        if trail is None:
            trail = trails[address] = Trail(address)
        trail.flying += 1
        return trail

    def landed(self, trail: Trail, position: Position | None, proof: Proof) -> None:
        """It is on the log, where its position is known at `position`."""
        trail.flying -= 1
        if len(trail.proofs) < MAX_PROOFS:
            trail.proofs.append(proof)
        else:
            trail.certain = False
        if position is None:
            self._loosen(trail)
        else:
            self._raise(trail, position)

    def nothing(self, trail: Trail) -> None:
        """It changed nothing."""
        trail.flying -= 1
        if trail.empty:
            self.forget(trail)

    def unknown(self, trail: Trail) -> None:
        """It may be on the log, or get there yet."""
        trail.flying -= 1
        trail.certain = False
        self._loosen(trail)

    def forget(self, trail: Trail) -> None:
        """All of it is in the record."""
        partition = self._partition_of(trail.address)
        self._trails[partition].pop(trail.address, None)
        self._loose.get(partition, set()).discard(trail)

    def addresses(self) -> list[Address]:
        """Every conversation with a trail."""
        return [address for trails in self._trails.values() for address in trails]

    def provable(self) -> list[Trail]:
        """Trails that the record can show to be settled: all their events are known."""
        trails = (trail for trails in self._trails.values() for trail in trails.values())
        return [trail for trail in trails if trail.certain and not trail.flying]

    def newest(self, partition: int) -> Position | None:
        """The highest position noted in a partition: none that is higher is older than what is asked of
        the log after this."""
        return self._newest.get(partition)

    def loose(self, partition: int) -> list[Trail]:
        """Trails that the end of the log, asked for after this, bounds."""
        return [trail for trail in self._loose.get(partition, ()) if not trail.flying]

    def bound(self, trails: list[Trail], end: Position | None) -> None:
        """What is on the log of `trails` is not above `end`, which was asked for after they were taken."""
        for trail in trails:
            if trail.flying:
                continue
            trail.bounded = True
            self._loose[self._partition_of(trail.address)].discard(trail)
            if end is not None:
                self._raise(trail, end)
            elif trail.empty:
                self.forget(trail)

    def settle(self, partition: int, is_settled: Callable[[Position], bool]) -> None:
        """Forget what is settled, from the oldest on."""
        trails = self._trails.get(partition, OrderedDict[Address, Trail]())
        for _ in range(len(trails)):
            address, trail = next(iter(trails.items()))
            if trail.flying or not trail.bounded:
                trails.move_to_end(address)
            elif trail.position is None or is_settled(trail.position):
                del trails[address]
            else:
                return

    def _raise(self, trail: Trail, position: Position) -> None:
        partition = self._partition_of(trail.address)
        if trail.position is None or position_order(trail.position) < position_order(position):
            trail.position = position
        newest = self._newest.get(partition)
        if newest is None or position_order(newest) < position_order(position):
            self._newest[partition] = position
        self._trails[partition].move_to_end(trail.address)

    def _loosen(self, trail: Trail) -> None:
        trail.bounded = False
        self._loose.setdefault(self._partition_of(trail.address), set()).add(trail)

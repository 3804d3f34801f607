"""At which number a message stands, where the one that its event says is another's.

A Redis that lost its tail may give numbers again. A message that comes to a number that another has (or had)
gets a new one at the end of its conversation, for ever. Messages are known by their ids throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from common.domain.ids import ConversationId, UserId
from common.postgres.changes import Collision, ConversationChange, ConversationKey
from common.postgres.pool import Connection
from common.postgres.queries import statement
from common.postgres.rows import MessageRow

Place = tuple[UserId, ConversationId, int]


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is to be there. `contested`: another of this batch came first to its number."""

    change: ConversationChange
    row: MessageRow
    contested: bool = False


def place_of(row: MessageRow) -> Place:
    """Whose, where, and at which number."""
    return row.user_id, row.conversation_id, row.sequence_number


def first_claims(changes: Sequence[ConversationChange]) -> tuple[list[Claim], list[Claim]]:
    """The messages of a batch that come first to their numbers, and the others; ascending by number."""
    first: list[Claim] = []
    contested: list[Claim] = []
    for change in changes:
        numbers: set[int] = set()
        # Stable: of those with one number, the one that came first.
        for row in sorted(change.messages, key=lambda row: row.sequence_number):
            late = row.sequence_number in numbers
            (contested if late else first).append(Claim(change, row, late))
            numbers.add(row.sequence_number)
    return first, contested


class Places:
    """Finds and gives out places, under the locks of their conversations, in one transaction.

    `next_numbers` are those that the locked rows have. `moved`: the conversations of messages that stand
    elsewhere than their events say. `of_removed`: where each message stands that is to be removed. `late`:
    messages that came after they had been removed, with the numbers that they say.
    """

    def __init__(self, next_numbers: Mapping[ConversationKey, int]) -> None:
        self._next_numbers = next_numbers
        self.moved: set[ConversationKey] = set()
        self.of_removed: dict[tuple[ConversationKey, str], int] = {}
        self.late: dict[tuple[UserId, ConversationId, str], int] = {}

    async def find(self, connection: Connection, doubtful: Sequence[Claim]) -> list[Claim]:
        """Those of `doubtful` that are to be added elsewhere. All others are there, or deleted.

        Raises Collision for an id that is another message's.
        """
        if not doubtful:
            return []
        doubtful = sorted(doubtful, key=lambda claim: (claim.change.key, claim.row.sequence_number))
        rows = [claim.row for claim in doubtful]
        found = await connection.fetch(
            statement("find_places"),
            *_names([(row.user_id, row.conversation_id, row.id, row.sequence_number) for row in rows]),
            [row.payload for row in rows],
            [row.edited for row in rows],
        )
        elsewhere: list[Claim] = []
        for claim, facts in zip(doubtful, found, strict=True):
            number = claim.row.sequence_number
            if facts["differs"]:
                raise Collision(f"sequence number {number}: the id of its message is taken by another")
            if facts["place"] is not None:
                self._note(claim.change, number, facts["place"])
            elif facts["removed"]:
                # Whoever else has its number: a deleted message needs no other.
                self.late[*claim.change.key, claim.row.id] = number
            elif claim.contested or facts["taken"]:
                row = replace(claim.row, sequence_number=self._new_number(claim.change))
                elsewhere.append(Claim(claim.change, row))
            else:
                raise Collision(f"sequence number {number} could not be stored")
        await self._remember(
            connection, [(*claim.change.key, claim.row.id, claim.row.sequence_number) for claim in elsewhere]
        )
        return elsewhere

    async def find_removed(self, connection: Connection, changes: Sequence[ConversationChange]) -> None:
        """Find where the messages stand that `changes` remove, known or yet to come."""
        wanted = [
            (change, message_id, removed.number)
            for change in changes
            for message_id, removed in sorted(change.removed.items())
        ]
        if not wanted:
            return
        first = {(c.change.key, c.row.sequence_number): c.row.id for c in first_claims(changes)[0]}
        found = await connection.fetch(
            statement("find_places"),
            *_names([(*change.key, message_id, number) for change, message_id, number in wanted]),
            [b"{}"] * len(wanted),
            [True] * len(wanted),
        )
        new: list[tuple[UserId, ConversationId, str, int]] = []
        for (change, message_id, number), facts in zip(wanted, found, strict=True):
            place = facts["place"]
            if place is None and (
                facts["taken"] or first.get((change.key, number), message_id) != message_id
            ):
                place = self._new_number(change)
                new.append((*change.key, message_id, place))
            elif place is None:
                place = number
            else:
                self._note(change, number, place)
            self.of_removed[change.key, message_id] = place
        await self._remember(connection, new)

    def _note(self, change: ConversationChange, number: int, place: int) -> None:
        if place != number:
            self.moved.add(change.key)

    def _new_number(self, change: ConversationChange) -> int:
        number = max(self._next_numbers[change.key], change.next_sequence_number)
        change.next_sequence_number = number + 1
        self.moved.add(change.key)
        return number

    async def _remember(
        self, connection: Connection, rows: Sequence[tuple[UserId, ConversationId, str, int]]
    ) -> None:
        if rows:
            await connection.fetch(statement("add_renumbered"), *_names(rows))


def _names(rows: Sequence[tuple[UserId, ConversationId, str, int]]) -> list[Sequence[object]]:
    return [list(column) for column in zip(*rows, strict=True)]

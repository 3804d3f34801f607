"""The dead letters: events that were parked, to be looked at, put back on the log, or dropped."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.contract.stream import decode
from common.domain.errors import MalformedEvent, TurnlogError, UnsupportedVersion
from common.domain.events import ConversationDeleted, ConversationEvent, MessagesAppended, QueryLogged
from common.domain.ids import Position, position_order
from common.redis.commands import Argument, Client
from common.redis.functions import Functions
from common.redis.keys import Keys

PAGE: Final = 50
"""Letters of one read: each may hold megabytes."""
OUR_FIELDS: Final = (
    *(b"dead_position", b"dead_partition", b"dead_at", b"dead_error", b"dead_class", b"dead_sqlstate"),
    b"dead_by",
)
_PACKED: Final = b"dead_packed"
_LENGTH = re.compile(rb"([0-9]+):")


class TooManyFields(TurnlogError):
    """An event with more fields than can be put on the log at once; it never was one of ours."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A parked event. `position` is its own, `original` was the event's on the log; times in ms.

    `words` are the event's fields and values as they stood there; the letter's first `ours` are not.
    """

    partition: int
    position: Position
    original: Position
    parked_at_ms: int
    error: str
    kind: str
    sqlstate: str
    by: str
    words: list[bytes]
    ours: int
    packed: bool

    @property
    def name(self) -> str:
        """How it is called on the command line."""
        return f"{self.partition}/{self.position}"

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The event's fields; of one that is there twice, the last."""
        return dict(zip(self.words[::2], self.words[1::2], strict=True))

    @property
    def event(self) -> ConversationEvent | QueryLogged | None:
        """The event, where it can be read as one."""
        try:
            return decode(self.fields)
        except (UnsupportedVersion, MalformedEvent):
            return None


class DeadLetters:
    """The dead letters of all partitions. Raises LogUnavailable (Redis away)."""

    def __init__(self, functions: Functions, keys: Keys) -> None:
        self._functions = functions
        self._client = functions.client
        self._keys = keys

    async def count(self) -> int:
        """How many there are."""
        counts = [await self._client.call("XLEN", self._keys.dead(p)) for p in range(self._keys.partitions)]
        return sum(counts)

    async def ends(self) -> dict[int, Position]:
        """The last letter of each partition that has any, at this moment."""
        ends: dict[int, Position] = {}
        for partition in range(self._keys.partitions):
            found = await self._client.call("XREVRANGE", self._keys.dead(partition), "+", "-", "COUNT", 1)
            if found:
                ends[partition] = Position(found[0][0].decode())
        return ends

    async def up_to(self, partition: int, end: Position) -> AsyncGenerator[DeadLetter]:
        """The letters of one partition, oldest first, up to `end`: what is parked meanwhile is left out."""
        start = "-"
        while True:
            found = await self._client.call("XRANGE", self._keys.dead(partition), start, end, "COUNT", PAGE)
            for position, words in found:
                yield _letter(partition, Position(position.decode()), words)
            if len(found) < PAGE:
                return
            start = f"({found[-1][0].decode()}"

    async def get(self, partition: int, position: Position) -> DeadLetter | None:
        """One letter."""
        found = await self._client.call("XRANGE", self._keys.dead(partition), position, position)
        return _letter(partition, position, found[0][1]) if found else None

    async def requeue(self, letter: DeadLetter) -> Position | None:
        """Put the event back on the log as it was; its new position, or None where the letter is gone.

        One step: killed before or after it, the event is in exactly one of the two places. What can be read
        is pending from then on, so readers see it. Raises TooManyFields.
        """
        if letter.packed:
            raise TooManyFields(f"{letter.name} has {len(letter.words) // 2:,} fields")
        event = letter.event
        keys = [self._keys.events(letter.partition), self._keys.dead(letter.partition)]
        about: list[Argument] = ["", 0, 0, 0]
        at_home = event is not None and self._keys.partition(event.user_id) == letter.partition
        if event is not None and at_home and not isinstance(event, QueryLogged):
            names = self._keys.conversation(event.user_id, event.conversation_id)
            keys += (names.header, names.pending, names.user_pending)
            keys += (names.messages, names.rebuild, names.user_conversations, names.user_rebuild)
            about = _amendment(event)
        reply: bytes | None = await self._functions.call(
            "requeue", keys, letter.position, letter.ours, *about
        )
        return Position(reply.decode()) if reply else None

    async def drop(self, letter: DeadLetter) -> bool:
        """Forget a letter for ever; False where it was gone.

        Its entry, while the log has it, is remembered as void: neither `verify` nor `replay` takes it up.
        """
        keys = [self._keys.events(letter.partition), self._keys.dead(letter.partition)]
        event = letter.event
        if isinstance(event, ConversationDeleted) and self._keys.partition(event.user_id) == letter.partition:
            names = self._keys.conversation(event.user_id, event.conversation_id)
            keys += (names.header, names.pending, names.user_pending)
        return await self._functions.call("drop_letter", keys, letter.position) == 1


async def void_positions(
    client: Client, keys: Keys, partition: int, first: Position, last: Position
) -> set[Position]:
    """Positions from `first` to `last` whose dead letter was dropped, or requeued and stands elsewhere."""
    low, high = position_order(first)[0], position_order(last)[0]
    found: list[bytes] = await client.call("ZRANGEBYSCORE", keys.void(partition), low, high)
    return {Position(position.decode()) for position in found}


def _amendment(event: ConversationEvent) -> list[Argument]:
    """What its conversation's header learns of an event that comes back."""
    about: list[Argument] = [event.conversation_id]
    if isinstance(event, ConversationDeleted):
        return [*about, "deleted", 0, event.version]
    if not isinstance(event, MessagesAppended):
        return [*about, 0, 0, event.version]
    about += (len(event.bodies), event.first_sequence_number, event.version)
    for message in event.numbered:
        about += (str(event.bodies[message.sequence_number - event.first_sequence_number].fields["id"]),)
        about += (message.sequence_number,)
    return about


def _letter(partition: int, position: Position, words: Sequence[Any]) -> DeadLetter:
    """A letter from its words. Ours come first, each once: an event may have fields of the same names."""
    ours: dict[bytes, bytes] = {}
    while 2 * len(ours) < len(words):
        name = words[2 * len(ours)]
        if name not in OUR_FIELDS or name in ours:
            break
        ours[name] = words[2 * len(ours) + 1]
    event = list(words[2 * len(ours) :])
    packed = len(event) == 2 and event[0] == _PACKED
    text = {name: ours.get(name, b"").decode(errors="replace") for name in OUR_FIELDS}
    return DeadLetter(
        partition,
        position,
        original=Position(text[b"dead_position"]),
        parked_at_ms=int(text[b"dead_at"] or position_order(position)[0]),
        error=text[b"dead_error"],
        kind=text[b"dead_class"] or text[b"dead_error"].partition(":")[0],
        sqlstate=text[b"dead_sqlstate"],
        by=text[b"dead_by"],
        words=_unpacked(event[1]) if packed else event,
        ours=2 * len(ours),
        packed=packed,
    )


def _unpacked(text: bytes) -> list[bytes]:
    words: list[bytes] = []
    at = 0
    while head := _LENGTH.match(text, at):
        at = head.end() + int(head[1])
        words.append(text[head.end() : at])
    return words

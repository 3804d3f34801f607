"""What `turnlog verify` sees of Redis, each look at one moment, and the mending that is done there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from common.contract.stream import decode
from common.domain.conversations import Header
from common.domain.errors import MalformedEvent, UnsupportedVersion
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import ConversationId, Position, UserId
from common.redis.dead import void_positions
from common.redis.functions import Functions
from common.redis.group import GROUP, Entry
from common.redis.headers import HEADER_FIELDS, header_arguments, header_from_reply
from common.redis.info import parse_info
from common.redis.keys import Keys
from common.settings import RedisSettings

_CAS_FIELDS: Final = ("version", "epoch", "next")


class EntryState(StrEnum):
    """Where a position of a pending list is: unread, read and unsettled, acknowledged, off the log."""

    WAITING = "waiting"
    HELD = "held"
    SETTLED = "settled"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A position of a pending list; `event` is None where the entry is gone or cannot be read."""

    position: Position
    state: EntryState
    event: ConversationEvent | None


@dataclass(frozen=True, slots=True)
class ConversationLook:
    """All that Redis has of a conversation. `header` is None where it is absent or `garbled`."""

    user: UserId
    conversation: ConversationId
    header: Header | None
    garbled: bool
    raw_counters: tuple[bytes, ...]
    ids_from: int
    lifetime_ms: int
    """-1: for ever; -2: there is no header."""
    in_user_pending: bool
    messages: list[bytes]
    ids: dict[str, bytes]
    waiting: list[PendingEntry]
    stale: bool
    """An event was parked: the header goes with the last that is pending, or is the only tombstone."""

    @property
    def readable(self) -> bool:
        """Whether every pending event that is still on the log can be read."""
        return all(w.event is not None or w.state is EntryState.GONE for w in self.waiting)

    @property
    def events(self) -> list[ConversationEvent]:
        """The pending events, oldest first."""
        return [w.event for w in self.waiting if w.event is not None]

    def moved(self, later: ConversationLook) -> bool:
        """Whether anything that a comparison rests on is different in a `later` look."""
        return _rests_on(self) != _rests_on(later)


def _rests_on(look: ConversationLook) -> tuple[object, ...]:
    positions = [waiting.position for waiting in look.waiting]
    return look.header, look.garbled, look.stale, look.raw_counters, positions, look.messages, look.ids


@dataclass(frozen=True, slots=True)
class UserLook:
    """All that Redis has of a user's list; `floor` is None where it is not cached or has no floor."""

    user: UserId
    floor: int | None
    scores: dict[str, int]
    summaries: dict[str, bytes]
    pending: list[Header]
    orphans: list[ConversationId]
    """Members of the user's pending set that have nothing pending."""

    @property
    def cached(self) -> bool:
        """Whether there is a list. Where a row has no summary, part of it was evicted, and some of that may
        have come back with a change since: no reader is served from it."""
        if self.scores and self.floor is not None:
            return self.scores.keys() <= self.summaries.keys()
        return bool(self.scores) or self.floor is not None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry that the consumer group has had; `held` by a consumer, or settled."""

    entry: Entry
    held: bool


@dataclass(frozen=True, slots=True)
class LogPage:
    """Entries of one partition in their order; `silence_ms` is that of the consumer heard of last."""

    entries: list[LogEntry]
    more: bool
    silence_ms: int | None


class CacheAudit:
    """Looks and mends. Every method is one round trip; raises LogUnavailable (Redis away)."""

    def __init__(self, functions: Functions, keys: Keys, settings: RedisSettings) -> None:
        self._functions = functions
        self._client = functions.client
        self._keys = keys
        self._ttl_ms = settings.ttl_seconds * 1000

    async def look(self, user: UserId, conversation: ConversationId) -> ConversationLook:
        """Everything of one conversation, at one moment."""
        fields, lifetime, listed, messages, ids, waiting, stale = await self._functions.call(
            "verify_look", self._keys.conversation(user, conversation), GROUP, conversation
        )
        values = cast("list[bytes | None]", fields)
        header = _header(conversation, values)
        counters = dict(zip(HEADER_FIELDS, values, strict=True)) if values else {}
        return ConversationLook(
            user=user,
            conversation=conversation,
            header=header,
            garbled=bool(values) and header is None,
            raw_counters=tuple(counters.get(name) or b"" for name in _CAS_FIELDS),
            ids_from=int(values[-1] or 0) if header is not None else 0,
            lifetime_ms=lifetime,
            in_user_pending=listed == 1,
            messages=messages,
            ids={field[1:].decode(): value for field, value in _pairs(ids)},
            waiting=[
                PendingEntry(Position(position.decode()), EntryState(state.decode()), _event(entry))
                for position, state, entry in waiting
            ],
            stale=stale == 1,
        )

    async def settle(
        self, user: UserId, conversation: ConversationId, positions: Sequence[Position] = ()
    ) -> int:
        """Take settled `positions` off the pending list, and put right what follows from the list."""
        return await self._functions.call(
            "verify_settle",
            self._keys.conversation(user, conversation),
            *(GROUP, conversation, self._ttl_ms, *positions),
        )

    async def set_header(self, look: ConversationLook, header: Header) -> bool:
        """Make Redis's header this one, its counters never lower than they are; its caches go.

        False where an event has happened since `look`.
        """
        reply = await self._functions.call(
            "verify_header",
            self._keys.conversation(look.user, look.conversation),
            *(*look.raw_counters, self._ttl_ms, *header_arguments(header)),
        )
        return reply == b"ok"

    async def set_ids(self, look: ConversationLook, numbers: dict[str, int | None]) -> int:
        """Make message ids stand for these numbers (None: for none), where they are still as in `look`."""
        arguments: list[str | bytes] = []
        for message_id, number in numbers.items():
            # Its digest is not known here; a message that claims the id is compared with this one.
            value = b"" if number is None else b"%d - -" % number
            arguments += (f"#{message_id}", look.ids.get(message_id, b""), value)
        header = self._keys.conversation(look.user, look.conversation).header
        return await self._functions.call("verify_ids", [header], *arguments)

    async def drop_list(self, user: UserId, conversation: ConversationId) -> None:
        """Drop a cached list. A load that is under way begins again: it may have read what was wrong."""
        keys = self._keys.conversation(user, conversation)
        await self._client.call("UNLINK", keys.messages, keys.rebuild)

    async def look_user(self, user: UserId) -> UserLook:
        """Everything of a user's list, at one moment."""
        keys = self._keys.user(user)
        members, summaries, pending, orphans = await self._functions.call(
            "verify_look_user", (keys.conversations, keys.summaries, keys.pending), keys.base
        )
        scores = {member.decode(): int(float(score)) for member, score in _pairs(members)}
        return UserLook(
            user=user,
            floor=scores.pop("-", None),
            scores=scores,
            summaries={name.decode(): summary for name, summary in _pairs(summaries)},
            pending=[header_from_reply(ConversationId(name.decode()), fields) for name, fields in pending],
            orphans=[ConversationId(name.decode()) for name in orphans],
        )

    async def drop_user_list(self, user: UserId) -> None:
        """Drop a user's cached list; see `drop_list`."""
        keys = self._keys.user(user)
        await self._client.call("UNLINK", keys.conversations, keys.summaries, keys.rebuild)

    async def clear_user_pending(self, user: UserId, conversations: Sequence[ConversationId]) -> None:
        """Take conversations out of the user's pending set, where they still have nothing pending."""
        keys = self._keys.user(user)
        await self._functions.call("verify_user_pending", [keys.pending], keys.base, *conversations)

    async def log_page(self, partition: int, after: Position, count: int) -> LogPage:
        """Entries behind `after` that the consumer group has had."""
        more, page, silence = await self._functions.call(
            "verify_log", [self._keys.events(partition)], GROUP, after, count
        )
        entries = [
            LogEntry(Entry(partition, Position(position.decode()), dict(_pairs(fields))), held == b"1")
            for position, fields, held in page
        ]
        return LogPage(entries, more == b"1", int(silence) if silence else None)

    async def server_run(self) -> str:
        """What tells one run of the servers from another: a cursor of SCAN is good for one."""
        nodes = await self._client.nodes()
        return ",".join([parse_info(await node.call("INFO", "server"))["run_id"] for node in nodes])

    async def scan(
        self, cursor: str, count: int = 500
    ) -> tuple[str, list[tuple[UserId, ConversationId | None]]]:
        """A page of all keys as whose they are; the cursor is `0` behind the last.

        A cursor is that of one server, behind the number of that: they are gone through one by one.
        """
        number, _, of_server = cursor.rpartition(":")
        nodes, index = await self._client.nodes(), int(number or 0)
        following, names = await nodes[index].call(
            *("SCAN", of_server, "MATCH", self._keys.every_key(), "COUNT", count)
        )
        if following == b"0":
            index += 1
        after = "0" if index == len(nodes) else f"{index}:{following.decode()}"
        parsed = (self._keys.parse(name.decode(errors="replace")) for name in names)
        owners = {(key.user, key.conversation) for key in parsed if key is not None}
        return after, sorted(owners, key=lambda owner: (owner[0], owner[1] or ""))

    async def void(self, partition: int, first: Position, last: Position) -> set[Position]:
        """Entries of the log whose dead letter was dropped, or put back elsewhere."""
        return await void_positions(self._client, self._keys, partition, first, last)

    async def parked(self, partition: int) -> dict[Position, dict[bytes, bytes]]:
        """The dead letters of one partition, by the positions that they had on the log."""
        found: dict[Position, dict[bytes, bytes]] = {}
        after = "-"
        while True:
            page = await self._client.call("XRANGE", self._keys.dead(partition), after, "+", "COUNT", 200)
            for _, flat in page:
                fields = _unpacked(dict(_pairs(flat)))
                found[Position(fields.get(b"dead_position", b"").decode())] = fields
            if len(page) < 200:
                return found
            after = f"({page[-1][0].decode()}"


def _header(conversation: ConversationId, values: Sequence[bytes | None]) -> Header | None:
    if not values or None in values:
        return None
    try:
        return header_from_reply(conversation, cast("list[bytes]", values))
    except ValueError:
        return None


def _event(flat: Sequence[bytes]) -> ConversationEvent | None:
    try:
        event = decode(dict(_pairs(flat))) if flat else None
    except (UnsupportedVersion, MalformedEvent):
        return None
    return None if isinstance(event, QueryLogged) else event


def _unpacked(letter: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """A dead letter whose event had too many words: they stand there as `length:word`, one by one."""
    packed, words = letter.get(b"dead_packed", b""), list[bytes]()
    while packed:
        length, _, rest = packed.partition(b":")
        words.append(rest[: int(length)])
        packed = rest[int(length) :]
    return letter | dict(_pairs(words))


def _pairs(flat: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))

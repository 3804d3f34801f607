"""The persister's side of the log: read as a consumer group, then settle, park and trim."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.exceptions import ResponseError

from common.domain.ids import ConversationId, Position, UserId, now_ms, position_order
from common.redis.commands import Argument, Client
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.settings import RedisSettings

GROUP: Final = "persisters"
MAX_ERROR_CHARS: Final = 2_000
MAX_IDS_KEPT: Final = 5_000
"""Message ids of one conversation that Redis keeps once all are in PostgreSQL."""
PAGE_BYTES: Final = 1024 * 1024
"""With so many bytes a page of entries is full: the last of them may go over it, and is as large as it is."""


class GroupMissing(Exception):
    """The consumer group is not there (a new or emptied Redis)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log as it stands there."""

    partition: int
    position: Position
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A page of entries taken over from silent consumers; `lost` are gone from the log itself."""

    entries: list[Entry]
    lost: list[Position]


@dataclass(frozen=True, slots=True)
class LetGo:
    """How many entries silent consumers hold, free to be claimed now; `lost` are gone from the log itself."""

    held: int
    lost: list[Position]


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry whose event PostgreSQL has; without a conversation there is nothing pending to settle.

    `moved`: a message stands at another number there than the event says, so the caches go.
    """

    position: Position
    user: UserId | None
    conversation: ConversationId | None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is parked, and who did it. `text` may quote what a user wrote, `kind` never does."""

    text: str
    kind: str
    sqlstate: str | None
    by: str


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far behind the group is: `waiting` entries not yet read, `pending` read and not settled.

    `delivered` is the last one that was read.
    """

    length: int
    waiting: int
    pending: int
    oldest_pending: Position | None
    delivered: Position | None = None

    def has_settled(self, position: Position) -> bool:
        """Whether the entry at `position` and all before it are in PostgreSQL (or parked)."""
        if self.delivered is None or position_order(self.delivered) < position_order(position):
            return False
        return self.oldest_pending is None or position_order(self.oldest_pending) > position_order(position)


class ConsumerGroup:
    """The group of all persisters. Raises LogUnavailable (Redis away) and GroupMissing."""

    def __init__(self, functions: Functions, keys: Keys, settings: RedisSettings) -> None:
        self._functions = functions
        self._client = functions.client
        self._keys = keys
        self._ttl_ms = settings.ttl_seconds * 1000

    async def create(self, partition: int) -> None:
        """Make sure that the group is there. It begins at the log's first entry, whatever came before."""
        await self._functions.call("create_group", [self._keys.events(partition)], GROUP)

    async def may_be_large(self, client: Client, partition: int, *, after: Position) -> bool:
        """Whether any entry after `after` is large; see `shared.lua`."""
        found: bytes | None = await client.call("HGET", self._keys.log(partition), "large")
        return found is not None and position_order(Position(found.decode())) > position_order(after)

    async def read_page(
        self, functions: Functions, partition: int, consumer: str, *, count: int, max_bytes: int = PAGE_BYTES
    ) -> list[Entry]:
        """Entries no consumer has had, at once, until they are `max_bytes` or more; none if there are none.

        `functions` says over which connection such a page comes. It costs Redis several times what `read_new`
        does, which is for entries none of which is large.
        """
        try:
            found = await functions.call(
                "read_page", [self._keys.events(partition)], GROUP, consumer, count, max_bytes
            )
        except ResponseError as error:
            raise _group_error(error) from error
        return _entries(partition, found)

    async def read_new(
        self, blocking: Client, partition: int, consumer: str, *, count: int, block_ms: int
    ) -> list[Entry]:
        """Wait for entries no consumer has had. `blocking` is a client that serves this partition alone.

        Only `count` bounds them: see `may_be_large`.
        """
        try:
            reply = await blocking.call(
                *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, "BLOCK", block_ms),
                *("STREAMS", self._keys.events(partition), ">"),
            )
        except ResponseError as error:
            raise _group_error(error) from error
        return _entries(partition, reply[0][1]) if reply else []

    async def claim_stale(
        self, partition: int, consumer: str, *, min_idle_ms: int, count: int, max_bytes: int = PAGE_BYTES
    ) -> AsyncGenerator[Claimed]:
        """Take over all entries that their consumer has not settled for `min_idle_ms`, page by page."""
        keys, cursor = [self._keys.events(partition)], b"0-0"
        while True:
            try:
                cursor, found, lost = await self._functions.call(
                    "claim_page", keys, GROUP, consumer, min_idle_ms, cursor, count, max_bytes
                )
            except ResponseError as error:
                raise _group_error(error) from error
            yield Claimed(_entries(partition, found), _positions(lost))
            # A page may be empty and not the last: only the cursor tells.
            if cursor == b"0-0":
                return

    async def let_go(self, partition: int, consumers: Sequence[str], *, idle_ms: int) -> LetGo:
        """Make what `consumers` hold count as idle for `idle_ms`: whoever claims next has it.

        One that lives after all may still settle it; then it is written twice, which changes nothing.
        """
        try:
            held, lost = await self._functions.call(
                "let_go", [self._keys.events(partition)], GROUP, idle_ms, *consumers
            )
        except ResponseError as error:
            raise _group_error(error) from error
        return LetGo(held, _positions(lost))

    async def committed(self, partition: int, entries: Sequence[Committed]) -> int:
        """Acknowledge entries that PostgreSQL has, settle what was pending, let cache lifetimes begin."""
        keys = [self._keys.events(partition)]
        settled: list[Argument] = []
        for entry in entries:
            if entry.user is not None and entry.conversation is not None:
                names = self._keys.conversation(entry.user, entry.conversation)
                keys += (names.header, names.pending, names.user_pending)
                settled += (entry.conversation, entry.position, "1" if entry.moved else "")
        positions = [entry.position for entry in entries]
        return await self._functions.call(
            "committed", keys, GROUP, self._ttl_ms, MAX_IDS_KEPT, len(positions), *positions, *settled
        )

    def partition_of(self, user: UserId) -> int:
        """Where the events of `user` stand."""
        return self._keys.partition(user)

    async def park(
        self,
        entry: Entry,
        refusal: Refusal,
        user: UserId | None = None,
        conversation: ConversationId | None = None,
        *,
        amends: int | Literal["deleted", ""] = "",
    ) -> bool:
        """Move an entry to the dead letters with its refusal; False where it was settled already.

        `user` and `conversation` where the event can be read so far: their caches are dropped. `amends`
        the conversation's header: by how many messages fewer (the record must have its numbers reserved);
        "deleted" where it is a tombstone that PostgreSQL does not have.
        """
        keys = [self._keys.events(entry.partition), self._keys.dead(entry.partition)]
        if user is not None and conversation is not None:
            names = self._keys.conversation(user, conversation)
            keys += (names.header, names.pending, names.user_pending)
            keys += (names.messages, names.rebuild, names.user_conversations, names.user_rebuild)
        about = dead_fields(entry, refusal)
        flat = [part for pair in entry.fields.items() for part in pair]
        reply = await self._functions.call(
            "park",
            keys,
            *(GROUP, entry.position, self._ttl_ms, MAX_IDS_KEPT, conversation or "", amends),
            *(len(about), *about, *flat),
        )
        return reply is not None

    async def parked_since(self, partition: int, at_ms: int, *, count: int) -> list[int]:
        """When the latest `count` dead letters of a partition came, where that was after `at_ms`."""
        found = await self._client.call(
            "XREVRANGE", self._keys.dead(partition), "+", max(0, at_ms), "COUNT", count
        )
        return [position_order(Position(position.decode()))[0] for position, _ in found]

    async def trim(self, partition: int, *, keep_from_ms: int) -> int:
        """Trim the log below what is settled and older than `keep_from_ms`; how many entries went."""
        try:
            return await self._functions.call(
                "trim", [self._keys.events(partition)], GROUP, f"{max(0, keep_from_ms)}-0"
            )
        except ResponseError as error:
            if "no such key" in str(error):
                return 0
            raise

    async def forget_consumers(self, partition: int, *, silent_ms: int) -> list[str]:
        """Forget consumers that hold nothing and have been silent for `silent_ms`; their names."""
        events = self._keys.events(partition)
        try:
            names: list[bytes] = await self._functions.call("forget_consumers", [events], GROUP, silent_ms)
        except ResponseError as error:
            raise _group_error(error) from error
        return [name.decode() for name in names]

    async def end(self, partition: int) -> Position | None:
        """The position of the log's last entry; None where it has none."""
        found = await self._client.call("XREVRANGE", self._keys.events(partition), "+", "-", "COUNT", 1)
        return Position(found[0][0].decode()) if found else None

    async def lag(self, partition: int) -> PartitionLag:
        """How far behind the group is in one partition."""
        events = self._keys.events(partition)
        length: int = await self._client.call("XLEN", events)
        try:
            groups = await self._client.call("XINFO", "GROUPS", events)
            pending = await self._client.call("XPENDING", events, GROUP)
        except ResponseError as error:
            if "no such key" in str(error) or str(error).startswith("NOGROUP"):
                return PartitionLag(length, length, 0, None)
            raise
        facts: dict[bytes, Any] = {}
        for flat in groups:
            group = dict(zip(flat[::2], flat[1::2], strict=True))
            if group[b"name"] == GROUP.encode():
                facts = group
        oldest = Position(pending[1].decode()) if pending[1] else None
        # `lag` is unknown (nil) where entries in the middle were deleted: the length is the bound.
        waiting = facts.get(b"lag")
        return PartitionLag(
            length,
            length if waiting is None else waiting,
            pending[0],
            oldest,
            Position(facts[b"last-delivered-id"].decode()) if facts else None,
        )


def _entries(partition: int, found: Sequence[Any]) -> list[Entry]:
    return [
        Entry(partition, Position(position.decode()), dict(zip(flat[::2], flat[1::2], strict=True)))
        for position, flat in found
        if flat is not None
    ]


def _positions(found: Sequence[bytes]) -> list[Position]:
    return [Position(position.decode()) for position in found]


def dead_fields(entry: Entry, refusal: Refusal) -> list[Argument]:
    """What a dead letter says before the event's own fields, as names and values."""
    return [
        *("dead_position", entry.position),
        *("dead_partition", entry.partition),
        *("dead_at", now_ms()),
        *("dead_error", refusal.text[:MAX_ERROR_CHARS]),
        *("dead_class", refusal.kind),
        *("dead_sqlstate", refusal.sqlstate or ""),
        *("dead_by", refusal.by),
    ]


def _group_error(error: ResponseError) -> Exception:
    if str(error).startswith("NOGROUP") or "no such key" in str(error):
        return GroupMissing(str(error))
    return error

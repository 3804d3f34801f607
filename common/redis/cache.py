"""The cache: lists of messages and of conversations, read in one round trip, rebuilt by compare-and-set."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from common.contract.stream import decode
from common.domain.conversations import Header
from common.domain.errors import Overloaded
from common.domain.events import ConversationEvent, MessagesAppended
from common.domain.ids import ConversationId, Position, UserId
from common.domain.messages import parse_body
from common.redis.functions import Functions
from common.redis.headers import HEADER_FIELDS, header_arguments, header_from_reply
from common.redis.keys import Keys
from common.settings import RedisSettings

LARGEST_SCORE: Final = 2**53


class Status(StrEnum):
    """What came of the wish to load something."""

    READY = "ready"
    DELETED = "deleted"
    BUILDING = "building"
    STARTED = "started"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is not yet in PostgreSQL, and where it stands on the log."""

    position: Position
    event: ConversationEvent


@dataclass(frozen=True, slots=True)
class LoadBegun:
    """`header` is Redis's own, where it has one; `waiting` is what is pending, oldest first."""

    status: Status
    token: str
    header: Header | None
    waiting: list[Waiting]

    @property
    def events(self) -> list[ConversationEvent]:
        """The pending events themselves."""
        return [waiting.event for waiting in self.waiting]

    def pending_ids(self) -> dict[str, tuple[int, Position]]:
        """The ids of pending messages, with their sequence numbers and positions."""
        return {
            str(parse_body(message.body)["id"]): (message.sequence_number, waiting.position)
            for waiting in self.waiting
            if isinstance(waiting.event, MessagesAppended)
            for message in waiting.event.numbered
        }


@dataclass(frozen=True, slots=True)
class PendingRows:
    """The user's conversations with pending events: their headers, of deleted ones too, and those that have
    none in Redis."""

    headers: list[Header]
    headless: list[ConversationId]

    @property
    def ids(self) -> list[ConversationId]:
        """All of them: what PostgreSQL says of these is not the latest."""
        return list(dict.fromkeys([*(header.id for header in self.headers), *self.headless]))

    @property
    def alive(self) -> list[Header]:
        """Those that a list shows."""
        return [header for header in self.headers if not header.deleted]


@dataclass(frozen=True, slots=True)
class Look:
    """A conversation at one moment: its header, where Redis has it, what is pending, and the cached list."""

    header: Header | None
    events: list[ConversationEvent]
    messages: list[bytes]


@dataclass(frozen=True, slots=True)
class ListBegun:
    """`pending` is what is to be laid over PostgreSQL's answer."""

    status: Status
    token: str
    pending: PendingRows


@dataclass(frozen=True, slots=True)
class ListRows:
    """Rows of a conversation list: id, last_modified in ms, summary. `total` only without a cursor."""

    rows: list[tuple[ConversationId, int, bytes]]
    total: int | None


class Beyond(Exception):
    """The page lies below what the cached list holds; PostgreSQL has it."""


class Cache:
    """The cached lists. Every method is one round trip; raises LogUnavailable (Redis away)."""

    def __init__(self, functions: Functions, keys: Keys, settings: RedisSettings) -> None:
        self._functions = functions
        self._client = functions.client
        self._keys = keys
        self._settings = settings
        self._ttl_ms = settings.ttl_seconds * 1000

    async def tail(self, user: UserId, conversation: ConversationId, limit: int) -> list[bytes]:
        """The newest `limit` messages as served, oldest first; none where nothing is cached.

        A cached list is a gapless part of the conversation up to its newest message, so fewer than
        `limit` are all there are only if the first has sequence number 0.
        """
        key = self._keys.messages(user, conversation)
        messages, lifetime = await self._client.call_together(("LRANGE", key, -limit, -1), ("PTTL", key))
        if 0 <= lifetime < self._ttl_ms // 2:
            # Renewed only when half of it is gone: a renewal is a write, and a write is an fsync.
            await self._client.call("PEXPIRE", key, self._ttl_ms)
        return cast("list[bytes]", messages)

    async def header(self, user: UserId, conversation: ConversationId) -> Header | None:
        """The header, of a deleted conversation too; None where Redis has none."""
        key = self._keys.conversation(user, conversation).header
        fields: list[bytes | None] = await self._client.call("HMGET", key, *HEADER_FIELDS)
        if None in fields:
            return None
        return header_from_reply(conversation, cast("list[bytes]", fields))

    async def drop_conversation(self, user: UserId, conversation: ConversationId) -> bool:
        """Drop what is cached of a conversation, and its user's list. True where its header stays.

        It stays while anything is pending, because nobody else has its counters then, and goes after.
        """
        keys = self._keys.conversation(user, conversation)
        return bool(await self._functions.call("drop_conversation", keys))

    async def load_begin(
        self,
        user: UserId,
        conversation: ConversationId,
        *,
        lease_ms: int,
        take_over: bool = False,
    ) -> LoadBegun:
        """Begin to load a conversation. PostgreSQL is to be read after this, never before."""
        token = uuid.uuid4().hex
        status, fields, entries = await self._functions.call(
            "load_begin",
            self._keys.conversation(user, conversation)[:5],
            token,
            lease_ms,
            "1" if take_over else "0",
        )
        header = header_from_reply(conversation, fields) if fields else None
        return LoadBegun(Status(status.decode()), token, header, _waiting(entries))

    async def load_install(
        self,
        user: UserId,
        begun: LoadBegun,
        header: Header,
        messages: Sequence[bytes],
    ) -> bool:
        """Install `messages` (as served, oldest first) and, where there never was one, `header`.

        False, and nothing is changed, where something may have happened to the conversation since it
        was `begun` that the caller has not seen.
        """
        ids: list[str | bytes] = []
        for message_id, (number, position) in begun.pending_ids().items():
            # Its digest is not known here; a message that claims the id is compared with this one.
            ids += (f"#{message_id}", f"{number} - {position}")
        reply = await self._functions.call(
            "load_install",
            self._keys.conversation(user, header.id)[:5],
            begun.token,
            self._ttl_ms,
            self._settings.session_max_messages,
            *header_arguments(header),
            "0" if begun.header is None else "1",
            len(ids) // 2,
            *ids,
            *messages,
        )
        return reply == b"ok"

    async def abandon(self, user: UserId, conversation: ConversationId, token: str) -> None:
        """Give a begun load up, so that nobody waits for it."""
        rebuild = self._keys.conversation(user, conversation).rebuild
        await self._functions.call("abandon", [rebuild], token)

    async def peek(
        self, user: UserId, conversation: ConversationId, *, most_bytes: int | None = None
    ) -> tuple[Header | None, list[ConversationEvent]]:
        """Header and pending events, for a read of PostgreSQL that comes after. Raises Overloaded where the
        events are more than `most_bytes`."""
        keys = self._keys.conversation(user, conversation)[:3]
        fields, entries = await self._functions.call("peek", keys, "" if most_bytes is None else most_bytes)
        if entries is None:
            raise Overloaded("Much of this conversation is still on its way to PostgreSQL; try again later")
        header = header_from_reply(conversation, fields) if fields else None
        return header, [waiting.event for waiting in _waiting(entries)]

    async def look(self, user: UserId, conversation: ConversationId) -> Look:
        """What a change of messages is worked out from."""
        fields, entries, messages = await self._functions.call(
            "look", self._keys.conversation(user, conversation)[:4]
        )
        header = header_from_reply(conversation, fields) if fields else None
        return Look(header, [waiting.event for waiting in _waiting(entries)], messages)

    async def list_read(
        self,
        user: UserId,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        offset: int = 0,
        since_ms: int = 0,
    ) -> ListRows | None:
        """A page of the user's conversations, newest first; None where nothing is cached.

        `before` is `Header.order` of the last row seen. Raises Beyond.
        """
        keys = self._keys.user(user)
        score, member = before or ("", "")
        reply: list[Any] = await self._functions.call(
            "list_read",
            (keys.conversations, keys.summaries),
            min(score, LARGEST_SCORE) if score != "" else "",
            member,
            offset,
            limit,
            since_ms,
            self._ttl_ms,
        )
        match reply[0]:
            case b"absent":
                return None
            case b"beyond":
                raise Beyond
            case _:
                rows = [
                    (ConversationId(reply[i].decode()), int(reply[i + 1]), cast(bytes, reply[i + 2]))
                    for i in range(2, len(reply), 3)
                ]
                return ListRows(rows, None if reply[1] == b"" else int(reply[1]))

    async def list_begin(self, user: UserId, *, lease_ms: int, take_over: bool = False) -> ListBegun:
        """Begin to load a user's list. PostgreSQL is to be read after this, never before."""
        token = uuid.uuid4().hex
        keys = self._keys.user(user)
        status, headers, headless = await self._functions.call(
            "list_begin",
            (keys.conversations, keys.summaries, keys.pending, keys.rebuild),
            token,
            lease_ms,
            "1" if take_over else "0",
            keys.base,
        )
        return ListBegun(Status(status.decode()), token, _rows(headers, headless))

    async def list_install(self, user: UserId, token: str, headers: Sequence[Header], *, floor: int) -> bool:
        """Install a user's list. All conversations modified after `floor` (ms) are in `headers`.

        False where the token is gone: begin again.
        """
        keys = self._keys.user(user)
        rows: list[str | bytes | int] = []
        for header in headers:
            rows += (header.id, header.last_modified_ms, header.summary())
        reply = await self._functions.call(
            "list_install",
            (keys.conversations, keys.summaries, keys.rebuild),
            token,
            self._ttl_ms,
            floor,
            keys.base,
            *rows,
        )
        return reply == b"ok"

    async def abandon_list(self, user: UserId, token: str) -> None:
        """Give a begun load of a user's list up."""
        await self._functions.call("abandon", [self._keys.user(user).rebuild], token)

    async def list_peek(self, user: UserId) -> PendingRows:
        """The user's conversations with pending events, for a read of PostgreSQL after."""
        keys = self._keys.user(user)
        return _rows(*await self._functions.call("list_peek", [keys.pending], keys.base))


def _waiting(entries: Sequence[Any]) -> list[Waiting]:
    found: list[Waiting] = []
    for position, flat in entries:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        found.append(Waiting(Position(position.decode()), cast(ConversationEvent, decode(fields))))
    return found


def _rows(pairs: Sequence[Any], headless: Sequence[bytes]) -> PendingRows:
    headers = [header_from_reply(ConversationId(name.decode()), fields) for name, fields in pairs]
    return PendingRows(headers, [ConversationId(name.decode()) for name in headless])

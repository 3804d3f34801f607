"""Histories with poison in them, on the log as some publisher may have put them there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from common.contract.stream import encode
from common.domain.ids import ConversationId, Position, UserId
from common.domain.messages import parse_body
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.redis.client import Command
from common.settings import Settings
from tests.record import History
from tests.redis_parts import ALICE, RedisParts

Fields = dict[bytes, bytes]
IMPATIENT = {"block_ms": 5, "breaker_probe_seconds": 0.1}
"""A persister that does not let a test wait."""


@dataclass(frozen=True)
class Published:
    """A conversation whose events were put on the log by hand."""

    conversation: ConversationId
    positions: list[Position]
    """Of the appends, in order; message i says i."""
    entries: list[Fields]

    def rows(self, poison: Collection[int]) -> list[str]:
        """What PostgreSQL is to have of it."""
        return [str(i) for i in range(len(self.positions)) if i not in poison]


async def publish(redis: RedisParts, events: int, poison: Collection[int]) -> Published:
    """A conversation with `events` appends, those in `poison` spoilt in one of five ways each."""
    history = History(user=ALICE)
    history.created()
    state = b'{"title":"A title","model":null,"created_at":"2026-01-31T12:00:00Z","metadata":{}}'
    created = encode(history.events[0]) | {b"state": state}
    entries = [encode(history.appended(str(i))) for i in range(events)]
    for turn, i in enumerate(sorted(poison)):
        entries[i] = _spoilt(entries[i], turn, redis)
    stream = redis.keys.events(redis.keys.partition(ALICE))
    commands = [_xadd(stream, entry) for entry in (created, *entries)]
    _, *positions = await redis.client.call_together(*commands)
    return Published(history.conversation, [Position(p.decode()) for p in positions], entries)


def _spoilt(entry: Fields, turn: int, redis: RedisParts) -> Fields:
    """Unknown version, no JSON, a NUL, another partition's user, bytes that are no text."""
    others = (UserId(f"user {i}") for i in range(100))
    other = next(user for user in others if redis.keys.partition(user) != redis.keys.partition(ALICE))
    spoils: list[Fields] = [
        {b"v": b"2"},
        {b"m0": b'{"id":'},
        {b"m0": entry[b"m0"].replace(b'"id":"', b'"id":"\\u0000')},
        {b"user": other.encode()},
        {b"m0": b'{"id":"\xff\xfe"}', b"\xff": b"\x00\r\n"},
    ]
    return entry | spoils[turn % len(spoils)]


def _xadd(stream: str, entry: Fields) -> Command:
    return ("XADD", stream, "*", *(word for pair in entry.items() for word in pair))


async def contents(pool: Pool, conversation: ConversationId) -> list[str]:
    """What the stored messages say, in order."""
    loaded = await Store(pool).load(ALICE, conversation, 10_000)
    return [parse_body(m.body)["content"] for m in loaded.messages] if loaded else []


def impatient(settings: Settings, **changes: Any) -> Settings:
    """The same servers, and a persister that does not let a test wait."""
    persister = settings.persister.model_copy(update=IMPATIENT | changes)
    return settings.model_copy(update={"persister": persister})


async def refuse_messages(pool: Pool) -> None:
    """From now on PostgreSQL takes no message: somebody's trigger is broken."""
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$BEGIN RAISE EXCEPTION 'a word of a user' USING ERRCODE = '22023'; END$$"
    )
    await pool.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


async def refuse_poison(pool: Pool) -> None:
    """From now on PostgreSQL takes no message that says poison, and no deletion."""
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$BEGIN RAISE EXCEPTION 'a word of a user' USING ERRCODE = '22023'; END$$"
    )
    await pool.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW"
        " WHEN (NEW.payload::text LIKE '%poison%') EXECUTE FUNCTION refuse()"
    )
    await pool.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON conversations FOR EACH ROW"
        " WHEN (NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION refuse()"
    )


async def mend(pool: Pool) -> None:
    """PostgreSQL takes everything again."""
    await pool.execute("DROP FUNCTION refuse CASCADE")


async def take_messages(pool: Pool) -> None:
    """The trigger is mended."""
    await pool.execute("DROP TRIGGER refuse ON messages")

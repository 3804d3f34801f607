"""What a Redis that was cut back under load has lost for good: the events that only its log had.

The nemesis writes it down at the one moment when it can be known: Redis is dead, its file is cut, and
PostgreSQL has what it has. The checker (`pardon.py`) excuses that, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

from common.contract.stream import decode
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationUpdated,
    MessagesAppended,
    QueryLogged,
)
from tests.chaos.aof import Entry
from tests.chaos.recovery import PROBE_USER
from tests.chaos.tags import tag_of, title_tag

Change = ConversationCreated | ConversationUpdated | ConversationDeleted | MessagesAppended
_KNOWN: Final = """
SELECT c.user_id, c.id::text, c.last_modified_ms, c.state_version, c.deleted_at IS NOT NULL AS deleted,
    ARRAY(SELECT m.id FROM messages AS m WHERE m.user_id = c.user_id AND m.conversation_id = c.id) AS ids
FROM unnest($1::text[], $2::uuid[]) AS wanted (user_id, id)
JOIN conversations AS c USING (user_id, id)
"""


@dataclass(frozen=True, slots=True)
class LostEvent:
    """An event that was on the log, is cut off it, and was not in PostgreSQL by then."""

    type: str
    user: str
    conversation: str
    at_ms: int
    tags: tuple[str, ...] = ()  # of the messages that it appended, from `first` on
    first: int = 0
    title: str | None = None  # the tag of the title that it gave
    absent: bool = False  # PostgreSQL had nothing of the conversation


@dataclass(frozen=True, slots=True)
class Loss:
    """One cut. Times are monotonic nanoseconds, as in the history; what was answered before `killed_ns` was
    true then, what was asked for after `dead_ns` was asked of the Redis that has lost it."""

    killed_ns: int
    dead_ns: int
    well_ns: int | None  # since when nothing of it was under way any more; None: never
    cut: int  # how many events were cut off, PostgreSQL had the rest of them
    events: tuple[LostEvent, ...]


def save_losses(losses: Sequence[Loss], path: Path) -> None:
    """Write them as JSON."""
    path.write_bytes(orjson.dumps([asdict(loss) for loss in losses]))


def read_losses(path: Path) -> list[Loss]:
    """The inverse of `save_losses`; none where there is no such file."""
    return [_loss(**loss) for loss in orjson.loads(path.read_bytes())] if path.exists() else []


def losses_beside(history: Path) -> Path:
    """Where the losses of a history file are kept."""
    return history.with_suffix(".losses.json")


async def not_stored(dsn: str, entries: Iterable[Entry]) -> tuple[int, tuple[LostEvent, ...]]:
    """How many of `entries` are changes of users' conversations, and those that PostgreSQL does not have."""
    events = [event for entry in entries if (event := _change_of(entry)) is not None]
    places = sorted({(event.user_id, event.conversation_id) for event in events})
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch(_KNOWN, [p[0] for p in places], [p[1] for p in places])
    finally:
        await connection.close(timeout=5)
    known = {(row["user_id"], row["id"]): row for row in rows}
    lost = (
        _lost(event, absent=row is None)
        for event in events
        if not _is_stored(event, row := known.get((event.user_id, event.conversation_id)))
    )
    return len(events), tuple(lost)


def _change_of(entry: Entry) -> Change | None:
    event: ConversationEvent | QueryLogged = decode(entry.fields)
    if event.user_id == PROBE_USER:
        return None
    return event if isinstance(event, Change) else None


def _is_stored(event: Change, row: asyncpg.Record | None) -> bool:
    if row is None:
        return False
    if row["deleted"]:
        return True  # whatever else became of it
    if isinstance(event, ConversationDeleted) or row["last_modified_ms"] < event.at_ms:
        return False
    if isinstance(event, MessagesAppended):
        return {body.fields["id"] for body in event.bodies} <= set(row["ids"])
    return row["state_version"] >= event.version


def _lost(event: Change, *, absent: bool) -> LostEvent:
    lost = LostEvent(event.type, event.user_id, event.conversation_id, event.at_ms, absent=absent)
    if isinstance(event, MessagesAppended):
        tags = tuple(tag_of(dict(body.fields)) for body in event.bodies)
        return replace(lost, tags=tags, first=event.first_sequence_number)
    if isinstance(event, ConversationDeleted):
        return lost
    return replace(lost, title=title_tag(event.state.title))


def _loss(events: Iterable[dict[str, Any]], **fields: Any) -> Loss:
    return Loss(**fields, events=tuple(_event(**event) for event in events))


def _event(tags: Iterable[str], **fields: Any) -> LostEvent:
    return LostEvent(**fields, tags=tuple(tags))

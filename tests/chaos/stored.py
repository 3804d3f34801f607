"""The record as it stands at the end: every conversation and message that PostgreSQL has of some users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from tests.chaos.history import Message
from tests.chaos.tags import tag_of, title_tag


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A row of `conversations` and its messages, by sequence number."""

    user: str
    id: str
    title: str | None  # its tag
    modified_ms: int
    count: int
    next_number: int
    deleted: bool
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What PostgreSQL holds."""

    conversations: tuple[StoredConversation, ...] = ()

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(orjson.dumps(self.conversations, default=tuple))


def read_record(path: Path) -> Record:
    """The inverse of `Record.save`."""
    return Record(tuple(_conversation(**row) for row in orjson.loads(path.read_bytes())))


def record_beside(history: Path) -> Path:
    """Where the record of a history file is kept."""
    return history.with_suffix(".record.json")


async def load_record(dsn: str, users: Iterable[str]) -> Record:
    """Everything that PostgreSQL holds of `users`."""
    connection = await asyncpg.connect(dsn)
    try:
        wanted = list(users)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            conversations = await connection.fetch(
                'SELECT user_id AS "user", id::text, title, last_modified_ms AS modified_ms,'
                " message_count AS count, next_sequence_number AS next_number,"
                " deleted_at IS NOT NULL AS deleted"
                " FROM conversations WHERE user_id = ANY ($1) ORDER BY 1, 2",
                wanted,
            )
            rows = await connection.fetch(
                "SELECT user_id, conversation_id::text, sequence_number, id, payload FROM messages"
                " WHERE user_id = ANY ($1) ORDER BY 1, 2, 3",
                wanted,
            )
    finally:
        await connection.close()
    messages: dict[tuple[str, str], list[Message]] = defaultdict(list)
    for user, conversation, number, id_, payload in rows:
        messages[user, conversation].append(Message(number, tag_of(orjson.loads(payload)), id_))
    return Record(
        tuple(_conversation(**row, messages=messages[row["user"], row["id"]]) for row in conversations)
    )


def _conversation(messages: Iterable[Iterable[Any]], title: str | None, **row: Any) -> StoredConversation:
    seen = tuple(Message(*message) for message in messages)
    return StoredConversation(messages=seen, title=title_tag(title), **row)

"""Histories of a conversation as events, and what PostgreSQL holds of a user."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from common.domain.conversations import State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageBody,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
    QueryLogged,
)
from common.domain.ids import ConversationId, MessageId, Position, UserId, isoformat_ms, new_conversation_id
from common.postgres.changes import Recorded
from common.postgres.pool import Pool, open_pool
from common.postgres.search_words import vector_text
from common.settings import Settings

ALICE = UserId("alice")
NOW = 1_760_000_000_000
TABLES = ("conversations", "messages", "tombstones", "removed_messages", "query_logs")


@dataclass
class History:
    """Writes the events of one conversation as the log would: a clock, and numbers without a gap."""

    user: UserId = ALICE
    conversation: ConversationId = field(default_factory=new_conversation_id)
    version: int = 0
    next_number: int = 0
    events: list[ConversationEvent] = field(default_factory=list[ConversationEvent])

    def created(self, title: str | None = "A title") -> ConversationCreated:
        """The conversation begins."""
        return self._add(ConversationCreated(**self._about(), state=state(title)))

    def updated(self, title: str | None) -> ConversationUpdated:
        """It gets another title."""
        return self._add(ConversationUpdated(**self._about(), state=state(title)))

    def deleted(self) -> ConversationDeleted:
        """It is deleted."""
        return self._add(ConversationDeleted(**self._about()))

    def appended(self, *contents: object) -> MessagesAppended:
        """Messages with these contents, whose ids are m0, m1, …"""
        first, self.next_number = self.next_number, self.next_number + len(contents)
        bodies = tuple(body(f"m{first + i}", content) for i, content in enumerate(contents))
        return self._add(MessagesAppended(**self._about(), first_sequence_number=first, bodies=bodies))

    def edited(self, number: int, content: object) -> MessageEdited:
        """Message `number` says something else."""
        return self._add(MessageEdited(**self._which(number), body=body(f"m{number}", content)))

    def removed(self, number: int) -> MessageDeleted:
        """Message `number` is deleted."""
        return self._add(MessageDeleted(**self._which(number)))

    def truncated(self, after: int) -> ConversationTruncated:
        """All messages after number `after` are deleted."""
        return self._add(
            ConversationTruncated(
                **self._about(), after_sequence_number=after, next_sequence_number=self.next_number
            )
        )

    def _which(self, number: int) -> dict[str, Any]:
        return {**self._about(), "message_id": MessageId(f"m{number}"), "sequence_number": number}

    def _about(self) -> dict[str, Any]:
        self.version += 1
        return {
            "user_id": self.user,
            "conversation_id": self.conversation,
            "version": self.version,
            "at_ms": NOW + self.version,
        }

    def _add(self, event: Any) -> Any:
        self.events.append(event)
        return event


def state(title: str | None) -> State:
    """What an owner can set, with a time whose text says more than its moment."""
    return State(title, "a-model", b'{"n":1e400}', "2026-01-31T12:00:00.120+01:00")


def body(message_id: str, content: object) -> MessageBody:
    """A message as it is stored."""
    fields = {"role": "user", "content": content, "id": message_id, "created_at": isoformat_ms(NOW)}
    return MessageBody(to_json(fields))


def logged(log_id: str, user: UserId = ALICE) -> QueryLogged:
    """A query and how it went."""
    return QueryLogged(user_id=user, at_ms=NOW, log_id=log_id, log={"latency_ms": 12.5, "tokens_used": 7})


def recorded(events: Iterable[ConversationEvent | QueryLogged], partition: int = 0) -> list[Recorded]:
    """Events as a persister reads them: with their place on the log, here by their number."""
    return [Recorded(partition, Position(f"{NOW}-{i}"), event) for i, event in enumerate(events)]


@asynccontextmanager
async def pool_of(settings: Settings) -> AsyncGenerator[Pool]:
    """A pool as a service has it."""
    async with open_pool(settings.postgres, application_name="test") as pool:
        yield pool


async def rows_of(pool: Pool, user: UserId = ALICE) -> dict[str, list[dict[str, Any]]]:
    """Everything that PostgreSQL holds of `user`, table by table, in the order of the keys.

    Without what says whose it is: the user's id, and the user's mark in the words of messages.
    """
    mark = vector_text(user, "x")[1:9]
    return {
        table: [
            {
                name: value.replace(mark, "") if name == "search" and value else value
                for name, value in row.items()
                if name != "user_id"
            }
            for row in await pool.fetch(_all_of(table), user)
        ]
        for table in TABLES
    }


def _all_of(table: str) -> str:
    return f"SELECT * FROM {table} WHERE user_id = $1 ORDER BY 1, 2, 3"

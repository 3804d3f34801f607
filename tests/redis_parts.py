"""The parts of `common.redis` on a clean server, and what tests say to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from common.contract.stream import decode
from common.domain.conversations import State
from common.domain.ids import ConversationId, UserId, new_conversation_id
from common.domain.messages import NewMessage, new_message
from common.redis.cache import Cache
from common.redis.commands import Argument, Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import Committed, ConsumerGroup, Entry
from common.redis.keys import Keys
from common.redis.log import FRESH, Creation, EventLog
from tests.cluster import redis_settings

ALICE = UserId("alice@example.com")
NOW = 1_760_000_000_000
STATE = State(title="A title", model=None, metadata=b"{}", created_at="2025-10-09T08:53:20.000Z")


@dataclass(frozen=True)
class RedisParts:
    """Everything of `common.redis` over one connection."""

    client: Client
    functions: Functions
    keys: Keys
    log: EventLog
    cache: Cache
    group: ConsumerGroup

    async def everywhere(self, *command: Argument) -> list[Any]:
        """A command without a key, to each server of the log; replies that are lists are put together."""
        replies = [await node.call(*command) for node in await self.client.nodes()]
        return [entry for reply in replies for entry in (reply if isinstance(reply, list) else [reply])]

    async def conversation(self, user: UserId = ALICE) -> ConversationId:
        """A new, empty conversation."""
        conversation = new_conversation_id()
        await self.log.create(user, conversation, Creation(FRESH, STATE), at_ms=NOW)
        return conversation

    async def persist_all(self, user: UserId = ALICE) -> list[Entry]:
        """Do to Redis what a persister does after its commit, for all that waits in `user`'s partition."""
        partition = self.keys.partition(user)
        await self.group.create(partition)
        entries = await self.group.read_new(self.client, partition, "test", count=10_000, block_ms=1)
        events = [(entry, decode(entry.fields)) for entry in entries]
        await self.group.committed(
            partition, [Committed(e.position, v.user_id, v.conversation_id) for e, v in events]
        )
        return entries

    async def events(self, user: UserId = ALICE) -> list[dict[bytes, bytes]]:
        """The log of `user`'s partition."""
        events = self.keys.events(self.keys.partition(user))
        entries: list[Any] = await self.client.call("XRANGE", events, "-", "+")
        return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]


@asynccontextmanager
async def redis_parts(url: str, **settings: Any) -> AsyncGenerator[RedisParts]:
    """All of `common.redis`, connected to `url`."""
    redis = redis_settings(url, **settings)
    client = connect(redis)
    functions = Functions(client)
    keys = Keys(redis.key_prefix, redis.partitions)
    try:
        yield RedisParts(
            client,
            functions,
            keys,
            EventLog(functions, keys, redis),
            Cache(functions, keys, redis),
            ConsumerGroup(functions, keys, redis),
        )
    finally:
        await client.aclose()


def message(content: str = "hello", **fields: Any) -> NewMessage:
    """A user's message, checked and ready for the log."""
    return new_message({"role": "user", "content": content, **fields}, at_ms=NOW)

"""Conversations on real servers, with Redis or without, and gates where a race is decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from common.assembly import Conversations, LoggedConversations, assemble, assemble_direct
from common.domain.ids import ConversationId, UserId
from common.domain.messages import numbered
from common.domain.overlay import Pending
from common.postgres.pool import Pool, open_pool
from common.postgres.store import NOTHING_PENDING, Loaded, Store
from common.redis.connect import connect
from common.redis.functions import Functions
from common.settings import Settings
from tests.redis_parts import ALICE, NOW, STATE, RedisParts, message, redis_parts


@dataclass
class Gate:
    """A place where a call waits until the test lets it through; open unless shut."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    passable: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.passable.set()

    def shut(self) -> None:
        """From now on calls wait here."""
        self.reached.clear()
        self.passable.clear()

    async def wait(self) -> None:
        """What a call does when it comes by."""
        self.reached.set()
        await self.passable.wait()


class GatedStore(Store):
    """PostgreSQL with a gate behind each read: the answer is there, the caller has not seen it yet.

    And with one before windows and pages: the caller has seen Redis, and not yet PostgreSQL.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.after_load = Gate()
        self.before_window = Gate()
        self.after_window = Gate()
        self.after_conversations = Gate()
        self.loads = 0
        self.list_loads = 0

    async def load(
        self,
        user: UserId,
        conversation: ConversationId,
        limit: int,
        pending: Pending = NOTHING_PENDING,
    ) -> Loaded | None:
        self.loads += 1
        answer = await super().load(user, conversation, limit, pending)
        await self.after_load.wait()
        return answer

    async def read_beside(self, *args: Any, **kwargs: Any) -> Any:
        await self.before_window.wait()
        answer = await super().read_beside(*args, **kwargs)
        await self.after_window.wait()
        return answer

    async def conversations(self, *args: Any, **kwargs: Any) -> Any:
        self.list_loads += 1
        answer = await super().conversations(*args, **kwargs)
        await self.after_conversations.wait()
        return answer


@dataclass(frozen=True)
class Scene:
    """A gateway's parts, and what a test says to them, wherever conversations are kept."""

    settings: Settings
    pool: Pool
    parts: Conversations

    async def conversation(self, messages: int = 0, user: UserId = ALICE) -> ConversationId:
        """A new conversation with `messages` messages; with Redis, on the log and nowhere else yet."""
        header, _ = await self.parts.publisher.create(user, STATE, at_ms=NOW)
        for i in range(messages):
            await self.append(header.id, str(i), user)
        return header.id

    async def append(self, conversation: ConversationId, text: str, user: UserId = ALICE) -> None:
        """Append one message."""
        await self.parts.publisher.append(user, conversation, [message(text)], at_ms=NOW)

    async def numbers(self, conversation: ConversationId, limit: int = 50, user: UserId = ALICE) -> list[int]:
        """The sequence numbers that a reader sees."""
        found = await self.parts.history.recent(user, conversation, limit)
        return [numbered(m).sequence_number for m in found]

    async def drop_caches(self) -> None:
        """Take away all that is cached: nothing, where there is no Redis."""


@dataclass(frozen=True)
class Stage(Scene):
    """Two servers, a gateway's parts on them, and hands to move the scenery."""

    redis: RedisParts
    store: GatedStore
    parts: LoggedConversations

    async def drop_caches(self) -> None:
        """Take away every key that may expire, as eviction or time would."""
        # In one step: between a look and a deletion an append may come, and its header stays for good.
        evict = "if redis.call('PTTL', KEYS[1]) >= 0 then redis.call('DEL', KEYS[1]) end"
        for node in await self.redis.client.nodes():
            for key in await node.call("KEYS", "*"):
                await node.call("EVAL", evict, 1, key)

    async def drop(self, key: str) -> None:
        """Take one key away."""
        await self.redis.client.call("DEL", key)


@asynccontextmanager
async def stage(settings: Settings, *, length: int = 50, lease_seconds: float = 5.0) -> AsyncGenerator[Stage]:
    """Parts as a gateway has them, without a cache builder."""
    redis_settings = settings.redis.model_copy(update={"session_max_messages": length})
    builder_settings = settings.cache_builder.model_copy(update={"lease_seconds": lease_seconds})
    settings = settings.model_copy(update={"redis": redis_settings, "cache_builder": builder_settings})
    async with (
        open_pool(settings.postgres, application_name="test") as pool,
        redis_parts(settings.redis.dsn, session_max_messages=length) as redis,
    ):
        store = GatedStore(pool)
        parts = assemble(settings, redis.functions, store)
        yield Stage(settings=settings, pool=pool, parts=parts, redis=redis, store=store)


@asynccontextmanager
async def scene_of(settings: Settings, *, length: int = 50) -> AsyncGenerator[Scene]:
    """Parts as a gateway with these settings has them: on the log, or in PostgreSQL alone."""
    if settings.uses_redis:
        async with stage(settings, length=length) as made:
            yield made
    else:
        async with open_pool(settings.postgres, application_name="test") as pool:
            yield Scene(settings, pool, assemble_direct(settings, pool))


@asynccontextmanager
async def second_process(scene: Scene, store: Store | None = None) -> AsyncGenerator[Conversations]:
    """The parts of another process on the same servers: nothing in memory is shared with the first,
    but for the store (with Redis) where none is given."""
    if not isinstance(scene, Stage):
        async with scene_of(scene.settings) as other:
            yield other.parts
        return
    client = connect(scene.settings.redis)
    try:
        yield assemble(scene.settings, Functions(client), store or scene.store)
    finally:
        await client.aclose()

"""A Redis of one's own whose append-only file can be cut back, and processes that use it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr
from pydantic_core import from_json

from common.assembly import Conversations, assemble, keys_for
from common.contract.stream import decode
from common.domain.errors import Busy
from common.domain.events import QueryLogged
from common.domain.ids import ConversationId, UserId
from common.domain.messages import numbered
from common.inspection import Inspection, inspection
from common.postgres.changes import Recorded
from common.postgres.pool import Pool, open_pool
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.redis.commands import Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import Committed, ConsumerGroup, Entry
from common.redis.keys import Keys
from common.settings import RedisSettings, Settings
from tests.persisters import RestartableServer, restartable
from tests.redis_parts import ALICE, NOW, STATE, message
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.embedded.valkey import valkey_server

T = TypeVar("T")


@dataclass(frozen=True)
class OwnRedis:
    """A server that a test may stop, cut back and start."""

    server: RestartableServer

    @property
    def dsn(self) -> str:
        """How to reach it."""
        return self.server.spec.dsn

    def size(self) -> int:
        """Where its append-only file ends: with `appendfsync always`, between two commands."""
        return self._file().stat().st_size

    def text(self) -> bytes:
        """The whole of that file."""
        return self._file().read_bytes()

    async def cut_back(self, size: int) -> None:
        """Stop it, cut its file back to what was there once, and start it again."""
        await asyncio.to_thread(self.server.stop)
        os.truncate(self._file(), size)
        await asyncio.to_thread(self.server.start)

    async def lose_everything(self) -> None:
        """Stop it, take its data away, and start it empty."""
        await asyncio.to_thread(self.server.stop)
        for file in self._file().parent.iterdir():
            file.unlink()
        await asyncio.to_thread(self.server.start)

    async def restart(self) -> None:
        """Stop it and start it again, with all that it had."""
        await asyncio.to_thread(self.server.stop)
        await asyncio.to_thread(self.server.start)

    def _file(self) -> Path:
        [file] = self.server.spec.directory.rglob("*.incr.aof")
        return file


@contextmanager
def own_redis() -> Generator[OwnRedis]:
    """A server whose file is never rewritten, so that every earlier state is a beginning of it."""
    options = {"auto-aof-rewrite-percentage": "0"}
    password = secrets.token_hex(16)
    with restartable(valkey_server, port=free_port(), password=password, options=options) as server:
        yield OwnRedis(server)


def using(settings: Settings, redis: OwnRedis) -> Settings:
    """`settings` with that server."""
    return settings.model_copy(update={"redis": RedisSettings(url=SecretStr(redis.dsn))})


@dataclass(frozen=True)
class Process:
    """What a gateway holds, connected as a gateway is."""

    parts: Conversations
    client: Client
    keys: Keys
    group: ConsumerGroup
    pool: Pool
    inspecting: Inspection

    async def conversation(self, *texts: str, user: UserId = ALICE) -> ConversationId:
        """A new conversation with these messages."""
        header, _ = await persevering(lambda: self.parts.publisher.create(user, STATE, at_ms=NOW))
        for text in texts:
            await self.append(header.id, text, user)
        return header.id

    async def append(self, conversation: ConversationId, text: str, user: UserId = ALICE) -> int:
        """Append one message; its number."""
        new = message(text)
        appended = await persevering(
            lambda: self.parts.publisher.append(user, conversation, [new], at_ms=NOW)
        )
        return numbered(appended.messages[0]).sequence_number

    async def numbers(self, conversation: ConversationId, user: UserId = ALICE) -> list[int]:
        """The numbers that a reader sees."""
        found = await persevering(lambda: self.parts.history.recent(user, conversation, 50))
        return [numbered(m).sequence_number for m in found]

    async def listed(self, user: UserId = ALICE) -> set[ConversationId]:
        """The conversations that a reader of the user's list sees."""
        page = await persevering(lambda: self.parts.listing.page(user, page=1, page_size=50))
        return {ConversationId(from_json(row)["conversation_id"]) for row in page.items}

    async def settled(self) -> None:
        """Wait until PostgreSQL has everything."""

        async def all_settled() -> bool:
            lags = [await self.group.lag(partition) for partition in range(self.keys.partitions)]
            return not any(lag.waiting or lag.pending for lag in lags)

        await wait_until(lambda: persevering(all_settled), timeout_seconds=30)

    async def read(self) -> list[Entry]:
        """What a persister has read of ALICE's partition and not yet committed."""
        partition = self.keys.partition(ALICE)
        await self.group.create(partition)
        return await self.group.read_new(self.client, partition, "slow", count=100, block_ms=1)

    async def commit(self, entries: list[Entry]) -> None:
        """Commit and settle, as a persister does."""
        partition = self.keys.partition(ALICE)
        events = [Recorded(partition, entry.position, decode(entry.fields)) for entry in entries]
        assert not await BatchWriter(self.pool).write(events)
        conversations = [event.event for event in events if not isinstance(event.event, QueryLogged)]
        names = zip(entries, conversations, strict=True)
        await self.group.committed(
            partition, [Committed(entry.position, ALICE, event.conversation_id) for entry, event in names]
        )

    async def stored(self, conversation: ConversationId) -> list[int]:
        """The numbers that PostgreSQL has."""
        query = "SELECT sequence_number FROM messages WHERE conversation_id = $1 ORDER BY 1"
        return [row[0] for row in await self.pool.fetch(query, conversation)]


@asynccontextmanager
async def process(settings: Settings) -> AsyncGenerator[Process]:
    """The parts of one process; nothing in memory is shared with another."""
    async with (
        open_pool(settings.postgres, application_name="test") as pool,
        inspection(settings, pool) as inspecting,
    ):
        client = connect(settings.redis, admit=inspecting.admit)
        functions, keys = Functions(client), keys_for(settings)
        try:
            yield Process(
                assemble(settings, functions, Store(pool)),
                client,
                keys,
                ConsumerGroup(functions, keys, settings.redis),
                pool,
                inspecting,
            )
        finally:
            await client.aclose()


async def persevering(call: Callable[[], Awaitable[T]], *, tries: int = 100) -> T:
    """Call again while a server is away, as an HTTP client does that is told to retry."""
    for _ in range(tries):
        try:
            return await call()
        except Busy:
            await asyncio.sleep(0.05)
    return await call()

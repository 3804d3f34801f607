"""How a gateway asks a cache builder to load something, and how the builder answers.

Requests go through a stream per partition, read by a consumer group; answers come back over a pub/sub
channel of the asking process. Neither needs to be reliable: an answer that does not come in time makes
the gateway do the work itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.domain.errors import LogUnavailable
from common.domain.ids import ConversationId, UserId
from common.redis.client import CONNECTION_FAILURES
from common.redis.commands import Client
from common.redis.keys import Keys

GROUP: Final = "cache_builders"
KEPT_REQUESTS: Final = 10_000
_LONG_MS: Final = 10_000
DEAF_SECONDS: Final = 2.0
"""How long a gateway works alone after a builder did not answer, before it asks again."""

log = structlog.get_logger(__name__)


class Answer(StrEnum):
    """What a builder says. NONE: nobody did."""

    LOADED = "loaded"
    ABSENT = "absent"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Miss:
    """A request to load a conversation, or (without one) a user's list of conversations.

    Nobody waits for the answer any more after `until`, by this process's event loop.
    """

    partition: int
    position: bytes
    request_id: str
    reader: str
    user: UserId
    conversation: ConversationId | None
    until: float


class MissAsker:
    """The gateway's end. Run `listen` as a task for as long as `ask` is used."""

    def __init__(self, client: Client, keys: Keys, *, wait_seconds: float) -> None:
        self._client = client
        self._keys = keys
        self._wait = wait_seconds
        self._reader = uuid.uuid4().hex
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self.listening = False
        self._deaf_until = 0.0
        self._next_server = 0

    async def ask(self, user: UserId, conversation: ConversationId | None) -> Answer:
        """Ask for a load and wait for the answer."""
        loop = asyncio.get_running_loop()
        if not self.listening or loop.time() < self._deaf_until:
            return Answer.NONE
        request = uuid.uuid4().hex
        answered: asyncio.Future[Answer] = loop.create_future()
        self._waiting[request] = answered
        try:
            misses = self._keys.misses(self._keys.partition(user))
            await self._client.call(
                *("XADD", misses, "MAXLEN", "~", KEPT_REQUESTS, "*", "request", request),
                *("reader", self._reader, "user", user, "conversation", conversation or ""),
                *("wait_ms", int(self._wait * 1000)),
            )
            async with asyncio.timeout(self._wait):
                return await answered
        except TimeoutError:
            self._deaf_until = loop.time() + DEAF_SECONDS
            log.warning("cache_builder_silent", waited_seconds=self._wait)
            return Answer.NONE
        finally:
            del self._waiting[request]

    async def listen(self) -> None:
        """Receive answers until cancelled; connects again whenever the connection is lost."""
        while True:
            try:
                await self._listen_once()
            except CONNECTION_FAILURES as error:
                log.warning("cache_builder_answers_lost", error=type(error).__name__)
            self.listening = False
            await asyncio.sleep(0.5)

    async def _listen_once(self) -> None:
        # Every server of a cluster passes on what is said on any: when one is lost, the next will do.
        servers = self._client.dsns
        dsn = servers[self._next_server % len(servers)]
        self._next_server += 1
        redis: Any = Redis.from_url(dsn, health_check_interval=10)  # pyright: ignore[reportUnknownMemberType]
        async with redis, redis.pubsub(ignore_subscribe_messages=False) as pubsub:
            await pubsub.subscribe(self._keys.answers(self._reader))
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    self.listening = True
                elif message["type"] == "message":
                    self._take(message["data"].decode())

    def _take(self, text: str) -> None:
        request, _, answer = text.partition(" ")
        waiting = self._waiting.get(request)
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(answer))


class MissQueue:
    """The builder's end."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def read(
        self, blocking: Client, partition: int, consumer: str, *, block_ms: int
    ) -> AsyncIterator[Miss]:
        """The requests of one partition, for ever. `blocking` serves this call alone.

        A request is handed to one builder and acknowledged at once: one that dies with it has
        cost its reader a wait, no more.
        """
        misses = self._keys.misses(partition)
        while True:
            try:
                reply = await blocking.call(
                    *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 64, "BLOCK", block_ms),
                    *("NOACK", "STREAMS", misses, ">"),
                )
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._create_group(misses)
                continue
            except LogUnavailable:
                await asyncio.sleep(0.2)
                continue
            for miss in await self._misses(partition, reply[0][1] if reply else []):
                yield miss

    async def _misses(self, partition: int, entries: list[Any]) -> list[Miss]:
        if not entries:
            return []
        try:
            # The clock by which positions are given.
            node = await self._client.near(self._keys.misses(partition))
            seconds, micros = await node.call("TIME")
        except LogUnavailable:
            return []
        now_ms, now = int(seconds) * 1000 + int(micros) // 1000, asyncio.get_running_loop().time()
        misses: list[Miss] = []
        for position, flat in entries:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            age_ms = now_ms - int(position.split(b"-")[0])
            left_ms = int(fields.get(b"wait_ms", _LONG_MS)) - age_ms
            misses.append(_miss(partition, position, fields, until=now + left_ms / 1000))
        return misses

    async def answer(self, miss: Miss, answer: Answer) -> None:
        """Wake the reader."""
        channel = self._keys.answers(miss.reader)
        # Any server would do; this one answered just now.
        node = await self._client.near(self._keys.misses(miss.partition))
        await node.call("PUBLISH", channel, f"{miss.request_id} {answer}")

    async def _create_group(self, misses: str) -> None:
        try:
            # From the start: what was asked for before the group was there waits for an answer too.
            await self._client.call("XGROUP", "CREATE", misses, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _miss(partition: int, position: bytes, fields: dict[bytes, bytes], *, until: float) -> Miss:
    conversation = fields[b"conversation"].decode()
    return Miss(
        partition=partition,
        position=position,
        request_id=fields[b"request"].decode(),
        reader=fields[b"reader"].decode(),
        user=UserId(fields[b"user"].decode()),
        conversation=ConversationId(conversation) if conversation else None,
        until=until,
    )

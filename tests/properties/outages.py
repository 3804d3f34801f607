"""Gateways that lose Redis and find it again, while clients read and write: the say moves there and back.

The persister keeps its own way to Redis, so that all that is on the log reaches the record; but for a rule
that holds it up, to show what then must not be answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

from hypothesis.stateful import precondition, rule
from pydantic import SecretStr

from common.authority.leftovers import Leftovers
from common.authority.watermark import Watermark
from common.domain.ids import UserId
from common.postgres.authority import AuthorityReport, AuthorityStore, Holder
from common.postgres.pool import Pool, open_pool
from common.settings import Settings
from tests.chaos.proxy import Direction, Proxy
from tests.gateways import running_gateway
from tests.persisters import running_persister, wait_settled
from tests.properties.clients import TEXT, Clients, ClientsOfRedis, Known
from tests.redis_parts import RedisParts, redis_parts
from tests.sessions import QUICK, login_and_port
from tests.waiting import wait_until

GATEWAYS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class _Parts:
    """What runs: gateways and a persister, each with a link of its own to Redis, and two onlookers."""

    urls: list[str]
    gateways: list[Proxy]
    persister: Proxy
    redis: RedisParts
    pool: Pool

    async def lose_redis(self, *, waiting: int) -> None:
        """Return when PostgreSQL has the say, and `waiting` conversations wait for the log."""
        for link in self.gateways:
            link.refuse()
        await self._until(lambda seen: seen.holder == Holder.RECORD and seen.unsettled == waiting)

    async def find_redis(self) -> None:
        """Return when the log has the say again, and every gateway may use it."""
        for link in self.gateways:
            link.heal()
        await self._until(lambda seen: seen.holder == Holder.LOG and seen.sessions == GATEWAYS)

    async def forget_what_waited(self) -> None:
        """Return when nothing is left of an outage: every ten seconds, a persister would do that, too."""
        partitions = self.redis.keys.partitions
        leftovers = Leftovers(AuthorityStore(self.pool), Watermark(self.redis.group, partitions))

        async def forgotten() -> bool:
            await leftovers.tidy()
            return not await AuthorityStore(self.pool).count_unsettled()

        await wait_until(forgotten, timeout_seconds=30)

    async def hold_persister_up(self, user: UserId) -> None:
        """From now on it hears nothing of the log; all that was there is in PostgreSQL."""
        await wait_settled(self.redis, user)
        self.persister.hold(Direction.REPLIES)

    async def _until(self, wanted: Callable[[AuthorityReport], bool]) -> None:
        store = AuthorityStore(self.pool)
        seen: list[AuthorityReport] = []

        async def is_so() -> bool:
            seen[:] = [await store.report()]
            return wanted(seen[0])

        await wait_until(is_so, timeout_seconds=30, message=lambda: f"the say: {seen}")


class Breakable:
    """The instance, for a test that has no event loop: its own runs in another thread."""

    def __init__(self, settings: Settings, parts: _Parts, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.urls = parts.urls
        self.times_lost = 0
        self._parts = parts
        self._loop = loop

    def lose_redis(self, *, waiting: int = 0) -> None:
        """See _Parts.lose_redis. What an outage before has left is forgotten first."""
        if not waiting:
            self._run(self._parts.forget_what_waited())
        self._run(self._parts.lose_redis(waiting=waiting))
        self.times_lost += 1

    def find_redis(self) -> None:
        """See _Parts.find_redis."""
        self._run(self._parts.find_redis())

    @contextmanager
    def persister_held_up(self, user: UserId) -> Generator[None]:
        """See _Parts.hold_persister_up."""
        self._run(self._parts.forget_what_waited())
        self._run(self._parts.hold_persister_up(user))
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._parts.persister.heal)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


@contextmanager
def breakable_instance(settings: Settings) -> Generator[Breakable]:
    """Two gateways and a persister, until the block ends."""
    small = {"session_max_messages": 4, "list_max_conversations": 3}
    hurried = {
        "gateway": settings.gateway.model_copy(update={"rebuild_wait_seconds": 0.05}),
        # What it had read when it was held up for too long is claimed soon.
        "persister": settings.persister.model_copy(update={"claim_min_idle_seconds": 0.5, "block_ms": 20}),
    }
    settings = settings.model_copy(update={"redis": settings.redis.model_copy(update=small), **hurried})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    opened = _open(settings)
    try:
        with patch("common.authority.session.Timing", return_value=QUICK):
            parts = run(opened.__aenter__())
            try:
                yield Breakable(settings, parts, loop)
            finally:
                run(opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def _open(settings: Settings) -> AsyncGenerator[_Parts]:
    async with AsyncExitStack() as stack:
        links = [await _link(stack, settings, name) for name in ("one", "two", "persister")]
        *ways, (persister, persister_settings) = links
        await stack.enter_async_context(running_persister(persister_settings))
        gateways = [await stack.enter_async_context(running_gateway(way)) for _, way in ways]
        pool = await stack.enter_async_context(open_pool(settings.postgres, application_name="test"))
        redis = await stack.enter_async_context(redis_parts(settings.redis.dsn))
        yield _Parts([g.url for g in gateways], [link for link, _ in ways], persister, redis, pool)


async def _link(stack: AsyncExitStack, settings: Settings, name: str) -> tuple[Proxy, Settings]:
    """A link to Redis, and settings that go over it."""
    login, port = login_and_port(settings)
    link = Proxy(name, port)
    await link.start()
    stack.push_async_callback(link.close)
    url = SecretStr(f"redis://{login}127.0.0.1:{link.port}/0")
    redis = settings.redis.model_copy(update={"url": url})
    return link, settings.model_copy(update={"redis": redis})


class ClientsThroughOutages(ClientsOfRedis):
    """Redis is lost and found between any two requests, and no answer shows it."""

    instance: ClassVar[Breakable]

    def __init__(self) -> None:
        super().__init__()
        self.lost = False

    @precondition(lambda self: not self.lost)
    @rule()
    def lose_redis(self) -> None:
        """What was acknowledged a moment ago is on the log, and waited for."""
        self.instance.lose_redis()
        self.lost = True

    @precondition(lambda self: self.lost)
    @rule()
    def find_redis(self) -> None:
        """The caches of before are older than what was written meanwhile: none may be shown."""
        self.set_right()

    @precondition(lambda self: not self.lost)
    @rule(known=Clients.conversations, text=TEXT)
    def lose_redis_with_what_only_the_log_has(self, known: Known, text: str) -> None:
        """How that conversation goes on nobody can tell: no answer about it, nor a list. Others go on."""
        if known.deleted:
            return
        with self.instance.persister_held_up(UserId(self.user)):
            self.append_to(known, [text])
            self.instance.lose_redis(waiting=1)
            self.lost = True
            for path in (f"/{known.id}", f"/{known.id}/messages", ""):
                reply = self.http.get(f"/api/conversations{path}")
                assert reply.status_code == 503, reply.text
                assert reply.headers["Retry-After"]
            for other in self.known.values():
                if other is not known:
                    self.expect_newest(other)
            self.set_right()
        self.expect_newest(known)

    def set_right(self) -> None:
        if self.lost:
            self.instance.find_redis()
            self.lost = False

"""Processes that use the log, each by a link of its own that a test can break."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.assembly import keys_for
from common.authority.leftovers import Leftovers
from common.authority.session import LogSession
from common.authority.timing import Timing
from common.authority.tracking import TrackingLog
from common.authority.unsettled import Unsettled
from common.authority.watermark import Watermark
from common.postgres.authority import AuthorityStore, Holder, Term
from common.postgres.pool import Pool
from common.redis.client import RedisClient
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from common.settings import Settings
from tests.chaos.proxy import Proxy
from tests.waiting import wait_until

QUICK = Timing(look=0.02, probe=0.5, outage=0.1, objection=0.3, fresh=15.0)


@dataclass
class Process:
    """One process: its session, its log, and its link to Redis."""

    link: Proxy
    session: LogSession
    log: TrackingLog
    unsettled: Unsettled
    leftovers: Leftovers
    drops: list[str]

    async def sees(self, holder: Holder) -> None:
        """Wait until this process knows that `holder` has the say."""
        await wait_until(lambda: self.session.holder is holder, message=f"{holder} has the say")


@asynccontextmanager
async def process(
    settings: Settings, pool: Pool, *, name: str = "a process", timing: Timing = QUICK
) -> AsyncGenerator[Process]:
    """A process that is there until the block ends."""
    login, port = login_and_port(settings)
    link = Proxy(name, port)
    await link.start()
    client = RedisClient(f"redis://{login}127.0.0.1:{link.port}/0", response_timeout=0.5)
    keys = keys_for(settings)
    functions = Functions(client)
    unsettled = Unsettled(lambda address: keys.partition(address[0]))
    watermark = Watermark(ConsumerGroup(functions, keys, settings.redis), keys.partitions)
    store = AuthorityStore(pool)
    drops: list[str] = []

    async def drop_caches(moment: str) -> None:
        drops.append(moment)

    session = LogSession(store, watermark, unsettled, name=name, drop_caches=drop_caches, timing=timing)
    log = TrackingLog(functions, keys, settings.redis, unsettled)
    try:
        async with session.open():
            yield Process(link, session, log, unsettled, Leftovers(store, watermark), drops)
    finally:
        await client.aclose()
        await link.close()


def login_and_port(settings: Settings) -> tuple[str, int]:
    """Redis's, for the URL of a link to it."""
    url = urlsplit(settings.redis.dsn)
    login, at, _ = url.netloc.rpartition("@")
    return login + at, url.port or 6379


async def term(pool: Pool) -> Term:
    """The authority as PostgreSQL has it."""
    row = await pool.fetchrow("SELECT holder, term FROM authority")
    assert row is not None
    return Term(Holder(row["holder"]), row["term"])

"""Another instance's Redis: that it is another, and that writing there hides nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack

from pydantic import SecretStr

from common.assembly import keys_for
from common.domain.errors import LogUnavailable, TurnlogError
from common.redis.client import RedisClient
from common.redis.commands import Admit, Ask, Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.info import is_node, parse_info
from common.redis.keys import Keys
from common.redis.runs import is_overdue, run_of, served_by
from common.redis.server import prepare_server
from common.settings import RedisSettings, Settings
from tools.errors import CommandError


async def other_redis(stack: AsyncExitStack, settings: Settings, url: str) -> Client:
    """A client of the Redis at `url`, which is closed with `stack`. Raises CommandError."""
    keys = keys_for(settings)
    try:
        clustered = await _is_cluster(url)
    except LogUnavailable as error:
        raise CommandError(f"the target: {error}") from error
    theirs = RedisSettings(url=SecretStr(url), cluster=clustered)
    client = connect(theirs, admit=_looked_after(keys, clustered=clustered))
    stack.push_async_callback(client.aclose)
    try:
        if await _runs(client) & await _own_runs(settings):
            raise CommandError("--target-redis-url is this instance's own Redis; name another server")
        await prepare_server(Functions(client), keys)
    except TurnlogError as error:
        raise CommandError(f"the target: {error}") from error
    return client


async def _is_cluster(url: str) -> bool:
    """Whether it is a node of a cluster: REDIS_CLUSTER is about our own."""
    client = RedisClient(url)
    try:
        return is_node(parse_info(await client.call("INFO", "server")))
    finally:
        await client.aclose()


def _looked_after(keys: Keys, *, clustered: bool) -> Admit:
    """Lets no connection pass to a run that its own instance has not inspected since a restart (ADR 0090): a
    log that came back older is known by where it ends, and what we write would make it end later."""

    async def admit(ask: Ask) -> None:
        if await is_overdue(ask, keys, await served_by(ask, keys, clustered=clustered)):
            raise LogUnavailable(
                "its own instance has not inspected it since its restart: start its persister"
            )

    return admit


async def _own_runs(settings: Settings) -> set[str]:
    """The runs of our own Redis; none where there is none, or it is away: perhaps for ever, and the record is
    what is left."""
    if not settings.uses_redis:
        return set()
    client = connect(settings.redis)
    try:
        return await _runs(client)
    except LogUnavailable:
        return set()
    finally:
        await client.aclose()


async def _runs(client: Client) -> set[str]:
    return {await run_of(node.call_together) for node in await client.nodes()}

"""Another instance's Redis: that it is another, and that writing there hides nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack

from common.assembly import keys_for
from common.domain.errors import LogUnavailable, TurnlogError
from common.redis.client import RedisClient
from common.redis.commands import Admit, Ask, Client, Command
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.runs import is_overdue, run_of
from common.redis.server import prepare_server
from common.settings import Settings
from tools.errors import CommandError


async def other_redis(stack: AsyncExitStack, settings: Settings, url: str) -> Client:
    """A client of the Redis at `url`, which is closed with `stack`. Raises CommandError."""
    keys = keys_for(settings)
    client = RedisClient(url, admit=_looked_after(keys))
    stack.push_async_callback(client.aclose)
    try:
        if await _run(client) == await _own_run(settings):
            raise CommandError("--target-redis-url is this instance's own Redis; name another server")
        await prepare_server(Functions(client), keys)
    except TurnlogError as error:
        raise CommandError(f"the target: {error}") from error
    return client


def _looked_after(keys: Keys) -> Admit:
    """Lets no connection pass to a run that its own instance has not inspected since a restart (ADR 0090): a
    log that came back older is known by where it ends, and what we write would make it end later."""

    async def admit(ask: Ask) -> None:
        if await is_overdue(ask, keys, await run_of(ask)):
            raise LogUnavailable(
                "its own instance has not inspected it since its restart: start its persister"
            )

    return admit


async def _own_run(settings: Settings) -> str | None:
    """The run of our own Redis; None where there is none, or it is away: perhaps for ever, and the record is
    what is left."""
    if not settings.uses_redis:
        return None
    client = connect(settings.redis)
    try:
        return await _run(client)
    except LogUnavailable:
        return None
    finally:
        await client.aclose()


async def _run(client: Client) -> str:
    async def ask(*commands: Command) -> list[object]:
        return await client.call_together(*commands)

    return await run_of(ask)

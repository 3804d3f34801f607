"""What a command that works with conversations needs, connected once and passed on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from common.assembly import Conversations, assemble, keys_for
from common.authority.opening import open_switched
from common.domain.errors import TurnlogError
from common.inspection import inspection
from common.postgres.pool import Pool, open_pool
from common.postgres.store import Store
from common.rebuild import Rebuilder
from common.redis.commands import Client
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from common.redis.keys import Keys
from common.redis.server import prepare_server
from common.settings import Settings
from tools.errors import CommandError

INSPECTION_SECONDS: Final = 60.0
"""A command has no client that waits for an answer."""


@dataclass(frozen=True, slots=True)
class Connections:
    """An instance's two servers, and what can be done with them."""

    settings: Settings
    client: Client
    keys: Keys
    group: ConsumerGroup
    pool: Pool
    conversations: Conversations
    rebuilder: Rebuilder


@asynccontextmanager
async def connected(
    settings: Settings, command: str, *, publishing: bool = False
) -> AsyncGenerator[Connections]:
    """Connect to the servers that `settings` name. Raises CommandError where they cannot be used.

    A command that is `publishing` is there like a gateway: what it acknowledged is asked after when Redis
    goes away.
    """
    if not settings.uses_redis:
        raise CommandError(f"CHAT_HISTORY_MODE={settings.mode} has no log; `{command}` needs one")
    async with (
        open_pool(settings.postgres, application_name=f"turnlog-{command}") as pool,
        inspection(settings, pool, patience_seconds=INSPECTION_SECONDS) as inspecting,
    ):
        client = connect(settings.redis, admit=inspecting.admit)
        try:
            functions, keys = Functions(client), keys_for(settings)
            try:
                await prepare_server(functions, keys)
            except TurnlogError as error:
                raise CommandError(str(error)) from error
            store = Store(pool)
            logged = assemble(settings, functions, store)
            conversations: Conversations = logged
            async with AsyncExitStack() as stack:
                if publishing:
                    opening = open_switched(settings, pool, store, functions, inspecting, name=command)
                    conversations = (await stack.enter_async_context(opening)).conversations
                group = ConsumerGroup(functions, keys, settings.redis)
                yield Connections(settings, client, keys, group, pool, conversations, logged.rebuilder)
        finally:
            await client.aclose()

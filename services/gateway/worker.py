"""Where the gateway is wired together: each worker process opens this for itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from common.assembly import Conversations as Parts
from common.assembly import keys_for
from common.authority.opening import open_record, open_switched
from common.direct.remembering import keep_forgetting
from common.inspection import inspection
from common.observability.logging import configure_logging
from common.postgres.pool import Pool, open_pool
from common.postgres.search import keep_indexing
from common.postgres.store import Store
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.misses import MissAsker
from common.redis.pressure import Pressure, bounds_from
from common.redis.stats import CacheStats
from common.reporting import report_counts
from common.runtime import exit_with_parent
from common.settings import Settings, load_settings
from services.gateway.access import AccessLog
from services.gateway.admission import Admission
from services.gateway.app import App, create_app
from services.gateway.conversations import Conversations
from services.gateway.exports import Exports
from services.gateway.health import Health, Probe
from services.gateway.identity.authenticator import Authenticator, open_authenticator
from services.gateway.lifespan import Lifespan, in_background
from services.gateway.me import Me
from services.gateway.message_changes import MessageChanges
from services.gateway.messages import Messages
from services.gateway.pages import Pages
from services.gateway.readiness import RedisReadiness, log_probe, stop_serving, store_probe
from services.gateway.search import Search

SERVICE: Final = "gateway"


def load_worker() -> Lifespan:
    """What a worker serves. Called in the worker's own process, before its event loop runs."""
    exit_with_parent()
    settings = load_settings()
    configure_logging(SERVICE, settings.observability)
    return Lifespan(partial(open_gateway, settings))


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncGenerator[App]:
    """The application, connected; raises UnsafeConfiguration where it must not serve.

    Either server may be away: what is needed of it is then checked as soon as it is back.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.postgres, application_name="turnlog-gateway")
        )
        store = Store(pool, deadline_seconds=settings.gateway.store_deadline_seconds)
        access_log = AccessLog()
        for work in (access_log.run(), keep_forgetting(pool), keep_indexing(pool)):
            await stack.enter_async_context(in_background(work))
        open_parts = _with_log if settings.uses_redis else _without_log
        parts, probes = await open_parts(settings, stack, pool, store)
        authenticator, key_probes = await stack.enter_async_context(open_authenticator(settings))
        health = Health({**probes, "postgres": store_probe(store), **key_probes})
        yield create_gateway(settings, parts, health, authenticator, access_log)


async def _with_log(
    settings: Settings, stack: AsyncExitStack, pool: Pool, store: Store
) -> tuple[Parts, dict[str, Probe]]:
    """Conversations on the log, and in PostgreSQL while the log is away."""
    inspecting = await stack.enter_async_context(inspection(settings, pool))
    client = connect(settings.redis, admit=inspecting.admit)
    stack.push_async_callback(client.aclose)
    functions, keys = Functions(client), keys_for(settings)
    redis = RedisReadiness(functions, keys)
    await redis.first_try()
    asker = MissAsker(client, keys, wait_seconds=settings.gateway.rebuild_wait_seconds)
    pressure = Pressure(functions, keys, bounds_from(settings))
    for work in (redis.run(), asker.listen(), pressure.watch()):
        await stack.enter_async_context(in_background(work))
    switched = await stack.enter_async_context(
        open_switched(settings, pool, store, functions, inspecting, name=SERVICE, asker=asker)
    )
    reporting = report_counts(switched.logged.counts, CacheStats(client, keys))
    await stack.enter_async_context(in_background(reporting))
    return switched.conversations, {"redis": log_probe(switched.session, redis)}


async def _without_log(
    settings: Settings, stack: AsyncExitStack, pool: Pool, _: Store
) -> tuple[Parts, dict[str, Probe]]:
    """Conversations in PostgreSQL alone."""
    opening = open_record(settings, pool, name=SERVICE, give_up=stop_serving)
    return await stack.enter_async_context(opening), {}


def create_gateway(
    settings: Settings, parts: Parts, health: Health, authenticator: Authenticator, access_log: AccessLog
) -> App:
    """The application over what is connected."""
    limits = settings.limits
    resources: list[object] = [
        Conversations(
            parts.history,
            parts.listing,
            parts.publisher,
            limits,
            history_days=settings.conversation_history_days,
        ),
        Messages(
            parts.history,
            parts.publisher,
            limits,
            persisted_wait_seconds=settings.gateway.persisted_wait_seconds,
        ),
        MessageChanges(parts.editor, limits),
        Search(parts.search),
        Exports(
            parts.history,
            parts.listing,
            most=settings.gateway.max_exports,
            read_seconds=settings.gateway.store_deadline_seconds,
        ),
        Me(settings.mode),
        health,
    ]
    resources.append(Pages(resources))
    return create_app(
        resources,
        authenticator,
        access_log,
        admission=Admission(settings.gateway, longest_body=limits.max_body_bytes),
        read_seconds=settings.gateway.store_deadline_seconds,
        stall_seconds=settings.gateway.stall_seconds,
    )

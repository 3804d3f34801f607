"""Where the gateway is wired together: each worker process opens this for itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from common.assembly import Conversations as Parts
from common.assembly import assemble, assemble_direct, keys_for
from common.direct.remembering import keep_forgetting
from common.inspection import inspection
from common.observability.logging import configure_logging
from common.postgres.pool import Pool, open_pool
from common.postgres.store import Store
from common.redis.client import RedisClient
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
from services.gateway.health import Health
from services.gateway.identity.authenticator import make_authenticator
from services.gateway.lifespan import Lifespan, in_background
from services.gateway.me import Me
from services.gateway.messages import Messages
from services.gateway.pages import Pages
from services.gateway.readiness import RedisReadiness, store_probe

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

    Redis, where it is used, may be away: it is then checked as soon as it is back, and the gateway is not
    ready before.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.postgres, application_name="turnlog-gateway")
        )
        store = Store(pool, deadline_seconds=settings.gateway.store_deadline_seconds)
        access_log = AccessLog()
        await stack.enter_async_context(in_background(access_log.run()))
        if settings.uses_redis:
            parts, redis = await _with_redis(settings, stack, pool, store)
            probes = {"redis": redis.probe, "postgres": store_probe(store)}
        else:
            parts = assemble_direct(settings, pool)
            await stack.enter_async_context(in_background(keep_forgetting(pool)))
            probes = {"postgres": store_probe(store)}
        yield create_gateway(settings, parts, Health(probes), access_log)


async def _with_redis(
    settings: Settings, stack: AsyncExitStack, pool: Pool, store: Store
) -> tuple[Parts, RedisReadiness]:
    """The log and its caches, connected until `stack` ends."""
    inspecting = await stack.enter_async_context(inspection(settings, pool))
    client = RedisClient(settings.redis.dsn, admit=inspecting.admit)
    stack.push_async_callback(client.aclose)
    functions, keys = Functions(client), keys_for(settings)
    redis = RedisReadiness(functions, keys)
    await redis.first_try()
    asker = MissAsker(client, settings.redis.dsn, keys, wait_seconds=settings.gateway.rebuild_wait_seconds)
    parts = assemble(settings, functions, store, asker=asker)
    reporting = report_counts(parts.counts, CacheStats(client, keys))
    pressure = Pressure(functions, keys, bounds_from(settings))
    for work in (redis.run(), asker.listen(), reporting, pressure.watch()):
        await stack.enter_async_context(in_background(work))
    return parts, redis


def create_gateway(settings: Settings, parts: Parts, health: Health, access_log: AccessLog) -> App:
    """The application over what is connected."""
    limits = settings.limits
    resources: list[object] = [
        Conversations(parts.history, parts.listing, parts.publisher, limits),
        Messages(
            parts.history,
            parts.publisher,
            limits,
            persisted_wait_seconds=settings.gateway.persisted_wait_seconds,
        ),
        Me(settings.mode),
        health,
    ]
    resources.append(Pages(resources))
    return create_app(
        resources,
        make_authenticator(settings),
        access_log,
        admission=Admission(settings.gateway, longest_body=limits.max_body_bytes),
        read_seconds=settings.gateway.store_deadline_seconds,
    )

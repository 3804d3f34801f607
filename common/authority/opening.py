"""Puts a process together that uses the log while that has the say, and the record while it has not."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.assembly import Conversations, LoggedConversations, assemble, assemble_direct, keys_for
from common.authority.record_session import RecordSession
from common.authority.session import LogSession
from common.authority.switching import (
    Switch,
    SwitchingEditor,
    SwitchingHistory,
    SwitchingListing,
    SwitchingPublisher,
    SwitchingSearch,
)
from common.authority.tracking import TrackingLog
from common.authority.unsettled import Unsettled
from common.authority.watermark import Watermark
from common.direct.transactions import Guards
from common.domain.errors import UnsafeConfiguration
from common.inspection import Inspection
from common.loading import Asker
from common.postgres.authority import AuthorityStore, guard_change, guard_read
from common.postgres.pool import Pool, open_pool
from common.postgres.store import Store
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from common.settings import Settings


def session_name(service: str) -> str:
    """What people see of a session."""
    return f"{service} {os.getpid()} on {socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class Switched:
    """Conversations wherever the say is; the session that knows where; and the parts on the log alone."""

    conversations: Conversations
    session: LogSession
    logged: LoggedConversations


@asynccontextmanager
async def _own_pool(settings: Settings, name: str) -> AsyncGenerator[Pool]:
    """A connection that slow requests cannot take: who cannot show itself is forgotten after a while, and
    would go on using a log that has lost the say."""
    alone = settings.postgres.model_copy(update={"pool_min_size": 0, "pool_max_size": 1})
    async with open_pool(alone, application_name=f"turnlog-{name}-session") as pool:
        yield pool


@asynccontextmanager
async def open_switched(
    settings: Settings,
    pool: Pool,
    store: Store,
    functions: Functions,
    inspecting: Inspection,
    *,
    name: str,
    asker: Asker | None = None,
) -> AsyncGenerator[Switched]:
    """A session that is there until the block ends, and conversations over it. `name` is the
    program's."""
    keys = keys_for(settings)
    unsettled = Unsettled(lambda address: keys.partition(address[0]))
    log = TrackingLog(functions, keys, settings.redis, unsettled)
    logged = assemble(settings, functions, store, asker=asker, log=log)
    record = assemble_direct(settings, pool, guards=Guards(guard_read, guard_change))
    async with _own_pool(settings, name) as own:
        session = LogSession(
            AuthorityStore(own),
            Watermark(ConsumerGroup(functions, keys, settings.redis), keys.partitions),
            unsettled,
            name=session_name(name),
            drop_caches=inspecting.start_afresh,
        )
        log.away = lambda: session.log_is_away
        switch = Switch(session, logged, record)
        conversations = Conversations(
            publisher=SwitchingPublisher(switch),
            editor=SwitchingEditor(switch),
            history=SwitchingHistory(switch),
            listing=SwitchingListing(switch),
            search=SwitchingSearch(switch),
        )
        async with session.open():
            yield Switched(conversations, session, logged)


@asynccontextmanager
async def open_record(
    settings: Settings, pool: Pool, *, name: str, give_up: Callable[[UnsafeConfiguration], None]
) -> AsyncGenerator[Conversations]:
    """Conversations in PostgreSQL alone, which keeps the say until the block ends; see `RecordSession` for
    `give_up`, and for the UnsafeConfiguration that this raises."""
    session = RecordSession(AuthorityStore(pool), name=session_name(name), give_up=give_up)
    async with session.open():
        # Reads need no guard: while this session is there, nobody gives the say to a log.
        yield assemble_direct(settings, pool, guards=Guards(changes=guard_change))

"""Puts the parts of a run together."""

from __future__ import annotations

from common.postgres.audit import RecordAudit
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.redis.audit import CacheAudit
from common.redis.functions import Functions
from tools.connections import Connections
from tools.verify.conversation import ConversationCheck
from tools.verify.log import LogCheck
from tools.verify.mending import Mender
from tools.verify.parked import Parked
from tools.verify.run import Parts
from tools.verify.user import UserCheck


def make_parts(
    connections: Connections,
    *,
    accept_loss: bool = False,
    cache: CacheAudit | None = None,
    record: RecordAudit | None = None,
    store: Store | None = None,
) -> Parts:
    """The parts of a run on an instance's servers; the last three in place of the plain ones."""
    settings, keys = connections.settings, connections.keys
    cache = cache or CacheAudit(Functions(connections.client), keys, settings.redis)
    record = record or RecordAudit(connections.pool)
    parked = Parked(cache, keys)
    check = ConversationCheck(cache, record, parked)
    writer = BatchWriter(connections.pool)
    rebuilder = connections.rebuilder
    return Parts(
        cache=cache,
        record=record,
        keys=keys,
        conversations=check,
        users=UserCheck(cache, store or Store(connections.pool), rebuilder),
        log=LogCheck(
            cache,
            record,
            writer,
            connections.group,
            parked,
            silent_ms=int(2 * settings.persister.claim_min_idle_seconds * 1000),
        ),
        mender=Mender(
            check,
            cache=cache,
            record=record,
            writer=writer,
            rebuilder=rebuilder,
            keys=keys,
            accept_loss=accept_loss,
        ),
    )

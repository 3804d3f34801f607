"""A persister's round, done by hand, so that a test says when."""

from __future__ import annotations

from common.contract.stream import decode
from common.domain.ids import UserId
from common.postgres.changes import Recorded
from common.postgres.writer import BatchWriter
from common.redis.group import Committed
from tests.redis_parts import ALICE
from tests.stage import Scene, Stage


async def persist(scene: Scene, user: UserId = ALICE) -> None:
    """Write all that waits in `user`'s partition to PostgreSQL, then settle it in Redis.

    Without Redis nothing ever waits.
    """
    if not isinstance(scene, Stage):
        return
    group = scene.redis.group
    partition = scene.redis.keys.partition(user)
    await group.create(partition)
    entries = await group.read_new(scene.redis.client, partition, "test", count=10_000, block_ms=1)
    recorded = [Recorded(partition, entry.position, decode(entry.fields)) for entry in entries]
    await BatchWriter(scene.pool).write(recorded)
    pairs = zip(entries, recorded, strict=True)
    settled = [Committed(entry.position, r.event.user_id, r.event.conversation_id) for entry, r in pairs]
    await group.committed(partition, settled)


async def go_cold(scene: Scene) -> None:
    """Everything is in PostgreSQL and nothing in Redis."""
    await persist(scene)
    await scene.drop_caches()

"""`turnlog verify` on a stage, with gates around its look at PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.domain.conversations import Header
from common.domain.ids import ConversationId, UserId
from common.postgres.audit import RecordAudit, RecordLook
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.redis.audit import CacheAudit, ConversationLook
from tests.stage import Gate, Stage
from tools.connections import Connections
from tools.verify.assembly import make_parts
from tools.verify.checkpoint import Checkpoint, Phase
from tools.verify.findings import Kind, Tally
from tools.verify.run import Parts, Run
from tools.verify.scope import Scope


class GatedRecord(RecordAudit):
    """The record with a gate before and behind the look at one conversation."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.before = Gate()
        self.behind = Gate()
        self.looks = 0

    async def conversation(
        self, user: UserId, conversation: ConversationId, *, newest: int, touched: Sequence[int]
    ) -> RecordLook | None:
        self.looks += 1
        await self.before.wait()
        answer = await super().conversation(user, conversation, newest=newest, touched=touched)
        await self.behind.wait()
        return answer


class GatedList(Store):
    """The record with a gate before the look at a user's list."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.before = Gate()

    async def conversations(self, *args: Any, **kwargs: Any) -> Any:
        await self.before.wait()
        return await super().conversations(*args, **kwargs)


class GatedMending(CacheAudit):
    """Redis with a gate between what was judged and the header or the list that is mended by it."""

    def __init__(self, scene: Stage) -> None:
        super().__init__(scene.redis.functions, scene.redis.keys, scene.settings.redis)
        self.before = Gate()

    async def set_header(self, look: ConversationLook, header: Header) -> bool:
        await self.before.wait()
        return await super().set_header(look, header)

    async def drop_list(self, user: UserId, conversation: ConversationId) -> None:
        await self.before.wait()
        await super().drop_list(user, conversation)


class Silent:
    """Shows nothing."""

    def show(self, phase: Phase, tally: Tally) -> None: ...


def parts_of(scene: Stage, **options: Any) -> Parts:
    """The parts of a run on the stage's servers; see `make_parts` for the options."""
    connections = Connections(
        scene.settings,
        scene.redis.client,
        scene.redis.keys,
        scene.redis.group,
        scene.pool,
        scene.parts,
        scene.parts.rebuilder,
    )
    return make_parts(connections, **options)


async def verify(
    parts: Parts, *, repair: bool = False, checkpoint: Path | None = None, **scope: Any
) -> Tally:
    """A whole run."""
    place = Checkpoint(checkpoint, Scope(**scope), repair=repair)
    return await Run(parts, place, Silent()).whole()


def kinds(tally: Tally) -> set[Kind]:
    """The kinds of drift that a run has found."""
    return set(tally.found)

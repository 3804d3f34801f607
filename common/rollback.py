"""Makes a Redis that came back older good again: what is stale goes, what is pending is loaded anew."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

import structlog

from common.domain.errors import LogRefusesWrites
from common.domain.ids import ConversationId, UserId
from common.rebuild import Rebuilder
from common.redis.runs import Runs

_LOADS_AT_ONCE: Final = 20
_POLL_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


async def make_good(runs: Runs, rebuilder: Rebuilder, partitions: Collection[int]) -> bool:
    """Drop every cache of `partitions`, then load the conversations that have anything pending. False, and
    it is not all done, where somebody else has inspected this run meanwhile.

    May be given up at any point and begun again. The log itself, the pending lists and the answers kept
    for idempotency keys stay: they are as they once were, all at one moment, so they fit each other.
    """
    while not await runs.take_lease():
        if await runs.inspected():
            return False
        await asyncio.sleep(_POLL_SECONDS)
    try:
        pending = await _drop_caches(runs, partitions)
        if pending is None:
            return False
        # A user's list is read with the headers of what is pending: they must be there.
        waiting = sorted(pending)
        for i in range(0, len(waiting), _LOADS_AT_ONCE):
            await runs.renew_lease()
            page = waiting[i : i + _LOADS_AT_ONCE]
            await asyncio.gather(*(_load(runs, rebuilder, *names) for names in page))
    finally:
        await runs.drop_lease()
    return True


async def forget_renumbered(
    runs: Runs, rebuilder: Rebuilder, conversations: Iterable[tuple[UserId, ConversationId]]
) -> None:
    """Drop what is cached of `conversations`, in which messages once got other numbers, where anything of
    them is pending: it may be of before that. A log that ends where PostgreSQL does says nothing of this."""
    for names in conversations:
        if await runs.forget(*names):
            await _load(runs, rebuilder, *names)


async def _drop_caches(runs: Runs, partitions: Collection[int]) -> set[tuple[UserId, ConversationId]] | None:
    """Drop headers, lists and rebuilds' tokens; which conversations have anything pending. None where the
    run was inspected meanwhile."""
    pending: set[tuple[UserId, ConversationId]] = set()
    dropped = 0
    async for page in runs.users_keys():
        stale: dict[int, list[str]] = defaultdict(list)
        for name, key in page:
            if key.partition not in partitions:
                continue
            if key.cached:
                stale[key.partition].append(name)
            elif key.pending and key.conversation is not None:
                pending.add((key.user, key.conversation))
        for partition, names in stale.items():
            gone = await runs.drop(partition, names)
            if gone is None:
                return None
            dropped += gone
        await runs.renew_lease()
    log.warning("stale_caches_dropped", keys=dropped, conversations_pending=len(pending))
    return pending


async def _load(runs: Runs, rebuilder: Rebuilder, user: UserId, conversation: ConversationId) -> None:
    if await runs.prune_pending(user, conversation):
        with suppress(LogRefusesWrites):
            await rebuilder.absent(user, conversation)

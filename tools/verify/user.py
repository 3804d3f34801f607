"""Verifies one user's list of conversations while it is in use; see `conversation.py`."""

from __future__ import annotations

import asyncio

from common.domain.conversations import Header
from common.domain.ids import UserId
from common.postgres.store import Store
from common.rebuild import Rebuilder
from common.redis.audit import CacheAudit, UserLook
from tools.verify.compare import user_findings
from tools.verify.conversation import ATTEMPTS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Undecided
from tools.verify.findings import Finding

_MARGIN = 1_000
_PASSES = 3


class UserCheck:
    """Judges and mends users' lists. Raises Undecided and the Busy family."""

    def __init__(self, cache: CacheAudit, store: Store, rebuilder: Rebuilder) -> None:
        self._cache = cache
        self._store = store
        self._rebuilder = rebuilder

    async def judge(self, user: UserId) -> list[Finding]:
        """What is wrong with one user's list, for certain."""
        pause = FIRST_PAUSE_SECONDS
        for _ in range(ATTEMPTS):
            look = await self._cache.look_user(user)
            found = user_findings(look, await self._expected(look) if look.cached else {})
            if not found or look == await self._cache.look_user(user):
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise Undecided

    async def mend(self, user: UserId, found: list[Finding]) -> list[Finding]:
        """Mend what was `found`; what is left in the end."""
        for _ in range(_PASSES):
            if not found:
                break
            look = await self._cache.look_user(user)
            if look.orphans:
                await self._cache.clear_user_pending(user, look.orphans)
            if any(finding.kind.startswith("user_list.") for finding in found):
                await self._cache.drop_user_list(user)
                await self._rebuilder.user_list(user)
            found = await self.judge(user)
        return found

    async def _expected(self, look: UserLook) -> dict[str, Header]:
        """What the list should show: what is pending was looked at first, PostgreSQL is read after."""
        floor = look.floor or 0
        stored = await self._store.conversations(
            look.user,
            limit=len(look.scores) + _MARGIN,
            since_ms=floor + 1,
            excluding=[header.id for header in look.pending],
        )
        alive = [h for h in look.pending if not h.deleted and h.last_modified_ms > floor]
        return {header.id: header for header in (*stored, *alive)}

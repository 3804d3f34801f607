"""A process without a log: while it is there, the record keeps the say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import structlog

from common.authority.timing import Timing
from common.domain.errors import StoreUnavailable, UnsafeConfiguration
from common.postgres.authority import AuthorityStore, Holder, Term

log = structlog.get_logger(__name__)


class RecordSession:
    """The claim of a process that works on PostgreSQL alone. `give_up` is called where that turns out to be
    unsafe only after the start, because PostgreSQL was away then."""

    def __init__(
        self,
        store: AuthorityStore,
        *,
        name: str,
        give_up: Callable[[UnsafeConfiguration], None],
        timing: Timing | None = None,
    ) -> None:
        self.id = uuid4()
        self._store = store
        self._name = name
        self._give_up = give_up
        self._timing = timing or Timing()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Be there until the block ends. Raises UnsafeConfiguration while others use a log, or one holds
        what the record has not."""
        with suppress(StoreUnavailable):
            await self.claim()
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            with suppress(StoreUnavailable):
                await self._store.close_session(self.id, [])

    async def claim(self) -> None:
        """See that the record has the say, and that this process is known to need it. Raises
        StoreUnavailable, UnsafeConfiguration."""
        seen = await self._store.seen(self.id)
        if seen.registered and seen.term.holder is Holder.RECORD:
            return
        if seen.term.holder is not Holder.RECORD:
            await self._take(seen.term)
        waiting = await self._store.count_unsettled()
        if waiting:
            raise UnsafeConfiguration(
                f"{waiting} conversations have events on the log in Redis that PostgreSQL has not: start "
                "Turnlog with Redis until `turnlog drain` says that nothing is pending"
            )
        if not await self._store.register(self.id, self._name, uses=Holder.RECORD, under=[Holder.RECORD]):
            raise UnsafeConfiguration(_IN_USE)

    async def _take(self, term: Term) -> None:
        if term.holder is Holder.LOG and await self._store.move(term, Holder.LEAVING):
            term = Term(Holder.LEAVING, term.number + 1)
        if term.holder is Holder.LEAVING:
            if await self._store.take(term):
                return
            holdouts = await self._store.holdouts(term)
            await self._store.move(term, Holder.LOG)
            if holdouts:
                raise UnsafeConfiguration(
                    f"{_IN_USE} ({holdouts[0].name}, seen {holdouts[0].silent_seconds:.0f} s ago): stop "
                    "every process that uses Redis; after one was killed, start Turnlog with Redis once "
                    "more, until `turnlog drain` says that nothing is pending"
                )
        raise UnsafeConfiguration(_IN_USE)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._timing.outage)
            try:
                await self.claim()
            except StoreUnavailable:
                pass
            except UnsafeConfiguration as error:
                self._give_up(error)
                return
            except Exception:
                log.exception("authority_look_failed")


_IN_USE = "other processes use this database with a log in Redis"

"""A process that uses the log: it shows itself, and gives the log up together with all others, or not at all.

The rule that everything here serves: the record gets the say only after every session has handed over, which
is to say that it has nothing under way on the log, will begin nothing, and has named what it left there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID, uuid4

import structlog

from common.authority.timing import Timing
from common.authority.unsettled import Unsettled
from common.authority.watermark import Watermark
from common.domain.errors import LogUnavailable, StoreUnavailable
from common.postgres.authority import AuthorityStore, Holder, Term

log = structlog.get_logger(__name__)


class ChangingOver(LogUnavailable):
    """The log may not be used at this moment; nothing was sent to it."""

    def __init__(self) -> None:
        super().__init__("the log is out of reach, and the record has not taken over yet")


class LogSession:
    """One process's right to use the log. `drop_caches` empties the log's caches when it comes back, once for
    the return that is named."""

    def __init__(
        self,
        store: AuthorityStore,
        watermark: Watermark,
        unsettled: Unsettled,
        *,
        name: str,
        drop_caches: Callable[[str], Awaitable[None]],
        timing: Timing | None = None,
    ) -> None:
        self.id = uuid4()
        self._store = store
        self._watermark = watermark
        self._unsettled = unsettled
        self._name = name
        self._drop_caches = drop_caches
        self._timing = timing or Timing()
        # Without PostgreSQL nobody can take the say away from the log, so that is where a process begins.
        self._holder = Holder.LOG
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._looked_at = -1e9
        self._log_away_since: float | None = None
        self._proposed: Term | None = None
        self._not_before = 0.0
        self._returning: Term | None = None
        self._patience = 0.0
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    @property
    def holder(self) -> Holder:
        """Who has the say, as far as this process knows."""
        return self._holder

    @property
    def log_is_away(self) -> bool:
        """Whether this process has not reached the log for so long that it would give it up."""
        away = self._log_away_since
        return away is not None and self._now() - away >= self._timing.outage

    @contextmanager
    def on_log(self) -> Generator[UUID]:
        """Around each use of the log and its caches; what it gives is for `confirm`. Raises ChangingOver
        where the log must not be used now."""
        if self._holder is not Holder.LOG:
            raise ChangingOver
        self._under_way += 1
        self._idle.clear()
        try:
            yield self.id
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def wait_decided(self, within: float) -> None:
        """Wait while the say is moving, at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._holder in (Holder.LEAVING, Holder.RETURNING):
                    await self._moved.wait()

    async def confirm(self, begun_as: UUID) -> None:
        """Before an answer from the log goes out that was `begun_as` this session: the process was not
        stopped so long that it was forgotten. Raises LogUnavailable where the log may have lost the say."""
        if self._stale:
            async with self._turn:
                if self._stale:  # many wait here at once; one look is for all
                    await self._look()
            if self._holder is not Holder.LOG:
                raise LogUnavailable("this process was stopped, and is back", outcome_unknown=True)
        # Forgotten, it may have registered anew before the answer came to be confirmed.
        if self.id != begun_as:
            raise LogUnavailable("this process was stopped, and is back", outcome_unknown=True)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Be there until the block ends; then hand over for good."""
        with suppress(StoreUnavailable):
            await self.look()
        tasks = [asyncio.create_task(self._keep(work)) for work in (self.look, self._look_at_log)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._holder = Holder.LEAVING
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(self._timing.probe):
                    await self._idle.wait()
                await self._store.close_session(self.id, self._unsettled.addresses())

    async def look(self) -> None:
        """Show this session, see who has the say, and do this session's part of a change."""
        async with self._turn:
            await self._look()

    @property
    def _stale(self) -> bool:
        return self._now() - self._looked_at >= self._timing.fresh

    async def _look(self) -> None:
        asked_at = self._now()
        # While the record is away nobody can take the say away from the log.
        with suppress(StoreUnavailable):
            seen = await self._store.seen(self.id)
            await self._follow(seen.term, seen.registered)
        if self._holder is Holder.LOG:
            self._looked_at = asked_at

    async def _follow(self, term: Term, registered: bool) -> None:
        match term.holder:
            case Holder.LOG:
                await self._use_log(term, registered)
            case Holder.LEAVING:
                await self._leave_or_object(term, registered)
            case Holder.RECORD:
                self._become(Holder.RECORD)
                await self._leave_record(term)
            case Holder.RETURNING:
                await self._see_return_through(term)

    async def _use_log(self, term: Term, registered: bool) -> None:
        if not registered:
            # New, or forgotten: then what it had under way counts for nothing, and while it is not
            # registered the others may decide without it.
            self._become(Holder.LEAVING)
            self.id = uuid4()
            if not await self._store.register(self.id, self._name, uses=Holder.LOG, under=[Holder.LOG]):
                return
        self._become(Holder.LOG)
        now = self._now()
        if self._proposed and term.number > self._proposed.number:
            # Somebody reaches the log: it is this process that does not.
            self._proposed, self._not_before = None, now + self._timing.objection
        if self.log_is_away and now >= self._not_before:
            self._proposed = Term(Holder.LEAVING, term.number + 1)
            if await self._store.move(term, Holder.LEAVING):
                log.warning("log_out_of_reach", consequence="the record takes over if all agree")
                await self._leave_or_object(self._proposed, registered=True)

    async def _leave_or_object(self, term: Term, registered: bool) -> None:
        if await self._reaches_log():
            if await self._store.move(term, Holder.LOG):
                log.info("log_within_reach", consequence="the log keeps the say")
            return
        self._become(Holder.LEAVING)
        if not self._idle.is_set():
            return  # what is under way on the log ends first; the next look goes on
        if registered and not await self._store.hand_over(self.id, term, self._unsettled.addresses()):
            return
        if await self._store.take(term):
            log.warning("record_has_the_say", unsettled=len(self._unsettled))
            self._become(Holder.RECORD)
        else:
            await self._say_who_holds_out(term)

    async def _say_who_holds_out(self, term: Term) -> None:
        silent = [h for h in await self._store.holdouts(term) if h.silent_seconds > self._timing.outage]
        if silent:
            log.warning(
                "record_cannot_take_over",
                reason="a process that used the log is silent: what it acknowledged may be on the log only",
                process=silent[0].name,
                silent_seconds=round(silent[0].silent_seconds),
            )

    async def _leave_record(self, term: Term) -> None:
        if await self._reaches_all() and not await self._store.record_users():
            if await self._store.move(term, Holder.RETURNING):
                self._become(Holder.RETURNING)
                await self._return(Term(Holder.RETURNING, term.number + 1))
            return
        await self._prove()

    async def _see_return_through(self, term: Term) -> None:
        """Somebody else is at it; if it takes long, they are gone."""
        self._become(Holder.RETURNING)
        if self._returning != term:
            self._returning, self._patience = term, self._now() + self._timing.objection
        elif self._now() > self._patience:
            await self._return(term)

    async def _return(self, term: Term) -> None:
        if not await self._reaches_all():
            await self._store.move(term, Holder.RECORD)
            return
        moment = await self._store.moment(term)
        if moment is None:
            return
        try:
            await self._drop_caches(moment)
        except LogUnavailable:
            return  # the next look sees
        if await self._store.move(term, Holder.LOG):
            log.warning("log_has_the_say_again")
            await self._use_log(Term(Holder.LOG, term.number + 1), registered=False)

    async def _prove(self) -> None:
        """See what the record has after all: the persister had read it before the log went away."""
        trails = self._unsettled.provable()
        proofs = [(trail.address, proof) for trail in trails for proof in trail.proofs]
        if not proofs:
            return
        settled = await self._store.settled(proofs)
        held = {address for i, (address, _) in enumerate(proofs) if i not in settled}
        for trail in trails:
            if trail.address not in held and trail.certain and not trail.flying:
                self._unsettled.forget(trail)
        await self._store.keep_unsettled(self.id, self._unsettled.addresses())

    async def _look_at_log(self) -> None:
        if await self._reaches_log():
            self._log_away_since = None
            await self._watermark.advance(self._unsettled)
        elif self._log_away_since is None:
            self._log_away_since = self._now()

    async def _reaches_log(self) -> bool:
        """Whether any of it answers: in a cluster the others go on when one primary is away."""
        return await self._answers(self._watermark.probe_any)

    async def _reaches_all(self) -> bool:
        """Whether all of it answers: it comes back into use as a whole."""
        return await self._answers(self._watermark.probe_all)

    async def _answers(self, probe: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(self._timing.probe):
                await probe()
        except (LogUnavailable, TimeoutError):
            return False
        return True

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("authority_look_failed")
            await asyncio.sleep(self._timing.look)

    def _become(self, holder: Holder) -> None:
        if holder is not self._holder:
            log.info("authority", was=self._holder, now=holder)
            self._holder = holder
            self._moved.set()
            self._moved = asyncio.Event()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

"""A whole run: the log, then every conversation of the record, then what only Redis has.

The log first: an event that is lost is recorded before the conversation that lacks it is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from common.domain.errors import Busy
from common.domain.ids import ConversationId, Position, UserId, position_order
from common.postgres.audit import RecordAudit
from common.redis.audit import CacheAudit
from common.redis.keys import Keys
from tools.errors import CommandError
from tools.verify.checkpoint import Checkpoint, Phase
from tools.verify.conversation import ConversationCheck, Undecided
from tools.verify.findings import Finding, Tally
from tools.verify.log import LogCheck
from tools.verify.mending import Mender
from tools.verify.pace import Pace
from tools.verify.user import UserCheck

PATIENCE_SECONDS: Final = 60.0
"""How long a server may be away before a run is given up."""
PAGE: Final = 200
Result = TypeVar("Result")
Owned = tuple[UserId, ConversationId]


class Watcher(Protocol):
    """Whoever shows how far a run is."""

    def show(self, phase: Phase, tally: Tally) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with."""

    cache: CacheAudit
    record: RecordAudit
    keys: Keys
    conversations: ConversationCheck
    users: UserCheck
    log: LogCheck
    mender: Mender


class Run:
    """One run; `checkpoint.at` is how far it is and what it found."""

    def __init__(
        self,
        parts: Parts,
        checkpoint: Checkpoint,
        watcher: Watcher,
        *,
        rate: float | None = None,
        concurrency: int = 16,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._parts = parts
        self._checkpoint = checkpoint
        self._at = checkpoint.at
        self._watcher = watcher
        self._pace = Pace(rate)
        self._slots = asyncio.Semaphore(concurrency)
        self._patience = patience_seconds

    async def whole(self) -> Tally:
        """Verify everything in scope. Raises CommandError where a server stays away."""
        try:
            return await self._phases()
        except* CommandError as group:
            reason = _first(group)
        raise reason

    async def _phases(self) -> Tally:
        phases = {Phase.LOG: self._log, Phase.RECORD: self._record, Phase.REDIS: self._redis}
        for phase, walk in phases.items():
            if self._at.phase is phase:
                await walk()
                self._at.phase = list(Phase)[list(Phase).index(phase) + 1]
                self._save(now=True)
        return self._at.tally

    async def _log(self) -> None:
        scope, log = self._at.scope, self._parts.log
        begin = Position(f"{max(0, scope.since_ms - 1)}-0")
        for partition in scope.partitions(self._parts.keys):
            if self._at.partition is not None and partition < self._at.partition:
                continue
            if partition != self._at.partition:
                self._at.partition, self._at.position = partition, begin
            more = True
            while more:
                after = self._at.position
                page = await self._patiently(lambda p=partition, a=after: log.page(p, a, PAGE))
                if page.entries:
                    await self._patiently(lambda p=partition, a=after: self._log_page(p, a))
                    self._at.position = max(
                        (entry.entry.position for entry in page.entries), key=position_order
                    )
                self._at.tally.log_entries += len(page.entries)
                self._save()
                more = page.more

    async def _log_page(self, partition: int, after: Position) -> None:
        log, scope = self._parts.log, self._at.scope
        page = await log.page(partition, after, PAGE)
        await self._pace.take(len({e.entry.fields.get(b"conversation") for e in page.entries}))
        found, items = await log.judge(partition, page, scope)
        left = found
        if found and self._at.repair:
            await log.mend(partition, items)
            left, _ = await log.judge(partition, await log.page(partition, after, PAGE), scope)
        self._at.tally.add(found, left=left, repairing=self._at.repair)

    async def _record(self) -> None:
        scope, record = self._at.scope, self._parts.record
        if scope.conversation is not None and scope.user is not None:
            await self._conversations([(scope.user, scope.conversation)])
            await self._user(scope.user)
            return
        while True:
            after = self._at.user, self._at.conversation
            if scope.user is not None:
                place = scope.user, after[1]
                page = await self._patiently(
                    lambda p=place: record.walk_user(p, since_ms=scope.since_ms, limit=PAGE)
                )
            else:
                page = await self._patiently(
                    lambda p=after: record.walk(p, since_ms=scope.since_ms, limit=PAGE)
                )
            await self._conversations(page)
            # A user's list is judged behind his last conversation: what is wrong there shows here too.
            users = dict.fromkeys([after[0], *(user for user, _ in page)])
            last = page[-1][0] if page else None
            await self._users(user for user in users if user and user != last)
            if not page:
                return
            self._at.user, self._at.conversation = page[-1]
            self._save()

    async def _redis(self) -> None:
        """Conversations and lists of which the record knows nothing."""
        scope, cache = self._at.scope, self._parts.cache
        if scope.conversation is not None:
            return
        run = await self._patiently(cache.server_run)
        if run != self._at.server_run:
            self._at.server_run, self._at.cursor = run, "0"
        while True:
            cursor = self._at.cursor
            cursor, owners = await self._patiently(lambda c=cursor: cache.scan(c))
            owners = [owner for owner in owners if scope.has(owner[0], self._parts.keys)]
            await self._unknown(owners)
            if cursor == "0":
                return
            self._at.cursor = cursor
            self._save()

    async def _unknown(self, owners: list[tuple[UserId, ConversationId | None]]) -> None:
        record = self._parts.record
        owned = [(user, conversation) for user, conversation in owners if conversation is not None]
        users = list(dict.fromkeys(user for user, _ in owners))
        known = await self._patiently(lambda: record.known(owned)) if owned else set[Owned]()
        known_users = await self._patiently(lambda: record.known_users(users)) if users else set[UserId]()
        await self._conversations(pair for pair in owned if pair not in known)
        await self._users(user for user in users if user not in known_users)

    async def _conversations(self, owned: Iterable[Owned]) -> None:
        await self._patiently(self._with_the_log)
        async with asyncio.TaskGroup() as group:
            for user, conversation in owned:
                if self._at.scope.has(user, self._parts.keys):
                    await self._pace.take(1)
                    await self._slots.acquire()
                    group.create_task(self._slotted(self._conversation(user, conversation)))

    async def _users(self, users: Iterable[UserId]) -> None:
        async with asyncio.TaskGroup() as group:
            for user in users:
                if self._at.scope.has(user, self._parts.keys):
                    await self._slots.acquire()
                    group.create_task(self._slotted(self._user(user)))

    async def _slotted(self, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._slots.release()

    async def _conversation(self, user: UserId, conversation: ConversationId) -> None:
        async def verify() -> tuple[list[Finding], list[Finding]]:
            judged = await self._parts.conversations.judge(user, conversation)
            if not (judged.found and self._at.repair):
                return judged.found, judged.found
            return judged.found, await self._parts.mender.mend(judged)

        await self._judged(verify)
        self._at.tally.conversations += 1
        self._watcher.show(self._at.phase, self._at.tally)

    async def _user(self, user: UserId) -> None:
        async def verify() -> tuple[list[Finding], list[Finding]]:
            found = await self._parts.users.judge(user)
            if not (found and self._at.repair):
                return found, found
            return found, await self._parts.users.mend(user, found)

        await self._judged(verify)
        self._at.tally.users += 1

    async def _judged(self, verify: Callable[[], Awaitable[tuple[list[Finding], list[Finding]]]]) -> None:
        try:
            found, left = await self._patiently(verify)
        except Undecided:
            self._at.tally.undecided += 1
        else:
            self._at.tally.add(found, left=left, repairing=self._at.repair)

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a call while a server is away, for as long as patience lasts."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            try:
                return await call()
            except Busy as busy:
                if loop.time() > deadline:
                    raise CommandError(
                        f"given up after {self._patience:.0f} s: {busy}."
                        " With --checkpoint, the same command goes on where this one stopped."
                    ) from busy
                await asyncio.sleep(busy.retry_after)

    async def _with_the_log(self) -> None:
        """Wait while Redis is behind on purpose."""
        if not await self._parts.record.log_has_the_say():
            raise Busy("PostgreSQL has the say while Redis is away")

    def _save(self, *, now: bool = False) -> None:
        self._watcher.show(self._at.phase, self._at.tally)
        self._checkpoint.save(now=now)


def _first(group: BaseExceptionGroup[CommandError]) -> CommandError:
    """The error itself: concurrent work that fails, fails for one reason."""
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError

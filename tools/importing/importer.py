"""The import itself: lines in, appends out, a bounded number of conversations under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from common.checks.errors import Invalid, NotJson
from common.domain.errors import (
    Busy,
    ConversationDeleted,
    ConversationNotFound,
    MessageIdConflict,
    MessageRemoved,
)
from common.domain.ids import ConversationId, UserId, now_ms
from common.domain.messages import NewMessage
from common.domain.publishing import Appended
from common.ports import PublisherPort
from common.settings import LimitsSettings
from tools.errors import CommandError
from tools.importing.lines import Batch, ImportedConversation, Line, parse_line
from tools.importing.progress import Progress
from tools.importing.tally import Tally

PATIENCE_SECONDS: Final = 60.0
"""How long nothing at all may get through before the import is given up."""

Result = TypeVar("Result")


class Stopped(Exception):
    """A line was refused, and the import is to stop at the first."""


class Importer:
    """One import; `tally` counts what is done."""

    def __init__(
        self,
        publisher: PublisherPort,
        limits: LimitsSettings,
        progress: Progress,
        *,
        user: UserId | None = None,
        strict: bool = False,
        concurrency: int = 32,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._publisher = publisher
        self._limits = limits
        self._progress = progress
        self._user = user
        self._strict = strict
        self._concurrency = concurrency
        self._patience = patience_seconds
        self._last_success = 0.0
        self._under_way: WeakValueDictionary[tuple[UserId, ConversationId], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self.tally = Tally()

    async def run(self, lines: Iterable[Line]) -> None:
        """Import every line; those that are refused are said and counted.

        Raises CommandError where Redis or PostgreSQL stay away.
        """
        self._last_success = asyncio.get_running_loop().time()
        reason: Exception | None = None
        waiting: asyncio.Queue[Line | None] = asyncio.Queue(maxsize=self._concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(waiting))
                for line in lines:
                    await waiting.put(line)
                for _ in range(self._concurrency):
                    await waiting.put(None)
        except* Stopped:
            self._progress.say("stopped at the first line that was refused (--strict)")
        except* CommandError as given_up:
            reason = given_up.exceptions[0]
        if reason is not None:
            # Raised inside the `except*` it would come out in a group, before Python 3.11.4.
            raise reason

    async def _work(self, waiting: asyncio.Queue[Line | None]) -> None:
        while (line := await waiting.get()) is not None:
            if line.text:
                await self._line(line)
            self._progress.advance(line.size, self.tally)

    async def _line(self, line: Line) -> None:
        try:
            conversation = parse_line(line, self._limits, now_ms=now_ms(), user=self._user)
            # Two lines of one conversation go one after the other, in the order of the file.
            key = (conversation.user, conversation.id)
            lock = self._under_way.setdefault(key, asyncio.Lock())
            async with lock:
                await self._conversation(conversation)
        except (ConversationNotFound, ConversationDeleted):
            self.tally.deleted += 1
            self._progress.say(f"{line.place}: the conversation was deleted here, which is final: left out")
        except Invalid as refused:
            self._refuse(line, *(f"{error.field}: {error.message}" for error in refused.errors))
        except NotJson as refused:
            self._refuse(line, f"not JSON: {refused}")
        except MessageIdConflict as refused:
            self._refuse(line, str(refused))

    def _refuse(self, line: Line, *reasons: str) -> None:
        self.tally.refused += 1
        for reason in reasons:
            self._progress.say(f"{line.place}: {reason}")
        if self._strict:
            raise Stopped

    async def _conversation(self, conversation: ImportedConversation) -> None:
        known = True
        for batch in conversation.batches:
            if batch.messages:
                known &= await self._append(conversation, batch)
            else:
                known &= await self._create(conversation, batch)
        if known:
            self.tally.known += 1
        else:
            self.tally.new += 1

    async def _append(self, conversation: ImportedConversation, batch: Batch) -> bool:
        messages: Sequence[NewMessage] = batch.messages

        async def append() -> Appended:
            return await self._publisher.append_to_new(
                conversation.user, conversation.id, conversation.state, messages, at_ms=batch.at_ms
            )

        while messages:
            try:
                appended = await self._patiently(append)
            except MessageRemoved as removed:
                # Deleted here since an earlier import, which is final: the others are to be there.
                gone = set(removed.message_ids)
                messages = [message for message in messages if message.id not in gone]
                continue
            self.tally.known_messages += appended.known
            self.tally.new_messages += len(messages) - appended.known
            return appended.replayed
        return True

    async def _create(self, conversation: ImportedConversation, batch: Batch) -> bool:
        _, known = await self._patiently(
            lambda: self._publisher.create(
                conversation.user, conversation.state, at_ms=batch.at_ms, conversation_id=conversation.id
            )
        )
        return known

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a call that finds Redis or PostgreSQL busy, as long as now and then one gets through."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = await call()
            except Busy as busy:
                if loop.time() - self._last_success > self._patience:
                    raise CommandError(
                        f"given up after {self._patience:.0f} s without progress: {busy}."
                        " Run the same command again: what is there already is left alone."
                    ) from busy
                await asyncio.sleep(busy.retry_after)
            else:
                self._last_success = loop.time()
                return result

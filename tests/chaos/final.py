"""Reads after the end, through every gateway: what must be there now, when nothing is under way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from tests.chaos import asks
from tests.chaos.caller import Caller, http_client
from tests.chaos.history import Operation, Outcome, Recorder

AT_ONCE: Final = 8
ATTEMPTS: Final = 5
PAGE_SIZE: Final = 500
RECENT: Final = 50


async def read_finally(
    gateways: Sequence[str],
    *,
    token_for: Callable[[str], str],
    recorder: Recorder,
    operations: Iterable[Operation],
    timeout_seconds: float = 30.0,
) -> list[Operation]:
    """Read every user's list and every conversation that `operations` know, through each gateway; record it
    all as final and return it. Call it once with the caches as they are, and once after they were dropped.

    Raises TimeoutError where a read has no answer in five attempts: then there is no verdict.
    """
    known = _conversations(operations)
    async with http_client(2 * AT_ONCE) as http:
        caller = Caller(http, token_for, recorder, timeout_seconds, final=True)
        reader = _Reader(caller)
        users = dict.fromkeys(user for user, _ in known)
        await _all(reader.walk(user, gateway) for user in users for gateway in gateways)
        known |= _conversations(reader.made)  # those whose beginning got no answer
        await _all(
            reader.conversation(user, conversation, gateway)
            for user, conversation in known
            for gateway in gateways
        )
        recorder.flush()
        return reader.made


class _Reader:
    numbers = itertools.count()

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.made: list[Operation] = []

    async def walk(self, user: str, gateway: str) -> None:
        await self._answered(lambda: self._caller.walk(user, gateway, id_=self._id()))

    async def conversation(self, user: str, conversation: str, gateway: str) -> None:
        """What the cache may have, then all of it, in PostgreSQL or not."""
        recent = asks.recent(user, conversation, RECENT)
        await self._answered(lambda: self._caller.call(recent, gateway, id_=self._id()))
        for number in itertools.count(1):
            page = asks.page(user, conversation, number, PAGE_SIZE)
            read = await self._answered(lambda ask=page: self._caller.call(ask, gateway, id_=self._id()))
            if number * PAGE_SIZE >= (read.reply.total or 0):
                return

    async def _answered(self, call: Callable[[], Awaitable[Operation]]) -> Operation:
        operation = await call()
        for attempt in range(1, ATTEMPTS):
            if operation.outcome is not Outcome.UNKNOWN:
                break
            await asyncio.sleep(0.1 * 2**attempt)
            operation = await call()
        if operation.outcome is Outcome.UNKNOWN:
            raise TimeoutError(f"no answer to a final read: {operation}")
        self.made.append(operation)
        return operation

    def _id(self) -> str:
        return f"final.{next(self.numbers)}"


def _conversations(operations: Iterable[Operation]) -> dict[tuple[str, str], None]:
    """Every conversation that somebody was told of or asked for as its owner."""
    known: dict[tuple[str, str], None] = {}
    owner: dict[str, str] = {}
    for operation in operations:
        told = [row.conversation for row in operation.reply.rows]
        told += [operation.reply.conversation] if operation.reply.conversation else []
        for conversation in told:
            known[owner.setdefault(conversation, operation.user), conversation] = None
    return known


async def _all(reads: Iterable[Awaitable[None]]) -> None:
    """Await them, `AT_ONCE` at a time."""
    waiting = iter(reads)

    async def take() -> None:
        for read in waiting:
            await read

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(take())

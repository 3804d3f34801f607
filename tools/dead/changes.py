"""Puts dead letters back on the log, or drops them: one after the other, so that stopping loses nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress

from common.domain.errors import Busy, ConversationNotFound
from common.domain.events import QueryLogged
from common.domain.ids import Position, position_order
from common.ports import HistoryPort
from common.redis.breaker import BreakerBoard
from common.redis.dead import DeadLetter, DeadLetters, TooManyFields
from common.redis.functions import Functions
from common.settings import Settings
from tools.connections import Connections, connected
from tools.dead.report import printable
from tools.dead.selection import Selection
from tools.settling import wait_settled


@dataclass(slots=True)
class Requeuing:
    """What came of a requeue. `again` of them were parked again; `waiting` says why that is not known."""

    requeued: int = 0
    refused: list[str] = field(default_factory=list[str])
    again: int = 0
    waiting: str | None = None
    positions: dict[int, list[Position]] = field(default_factory=dict[int, list[Position]])


async def requeue_all(settings: Settings, chosen: Selection, *, rate: float, wait: bool) -> Requeuing:
    """Put the chosen letters back, `rate` a second at most, and wait for what becomes of them."""
    outcome = Requeuing()
    async with connected(settings, "dead") as connections:
        letters = DeadLetters(Functions(connections.client), connections.keys)
        total = len(chosen.names) or await letters.count()
        async for letter in _at_rate(_shown(chosen.of(letters), total, "requeue"), rate):
            try:
                position = await _requeue(letters, connections.conversations.history, letter)
            except TooManyFields as error:
                outcome.refused.append(str(error))
                continue
            if position is not None:
                outcome.requeued += 1
                outcome.positions.setdefault(letter.partition, []).append(position)
        if wait and outcome.requeued:
            await _follow(connections, letters, outcome)
    return outcome


async def _requeue(letters: DeadLetters, history: HistoryPort, letter: DeadLetter) -> Position | None:
    event = letter.event
    if event is not None and not isinstance(event, QueryLogged):
        # With its header in Redis, readers see the event with the right count from this moment on. Without
        # one (PostgreSQL is away, say) it is read as soon as it is stored.
        with suppress(ConversationNotFound, Busy):
            await history.header(event.user_id, event.conversation_id)
    return await letters.requeue(letter)


async def _follow(connections: Connections, letters: DeadLetters, outcome: Requeuing) -> None:
    ends = {partition: max(found, key=position_order) for partition, found in outcome.positions.items()}
    if not await wait_settled(connections.group, ends):
        breaker = await BreakerBoard(connections.client, connections.keys).read()
        outcome.waiting = (
            f"they are refused again ({breaker.error}): the breaker is open and holds {breaker.held:,} back"
            if breaker
            else "PostgreSQL does not have them yet: is a persister running? (turnlog status)"
        )
    returned = {(partition, position) for partition, found in outcome.positions.items() for position in found}
    async for letter in Selection().of(letters):
        outcome.again += (letter.partition, letter.original) in returned


async def drop_all(
    letters: DeadLetters, chosen: Selection, *, rate: float, may: Callable[[str], bool]
) -> int:
    """Drop the chosen letters if `may(what is lost)`; how many were."""
    counts: dict[str, int] = {}
    total = 0
    async for letter in chosen.of(letters):
        kind = printable(letter.fields.get(b"type", b"?").decode(errors="replace"))
        counts[kind] = counts.get(kind, 0) + 1
        total += 1
    if not total:
        return 0
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    if not may(
        f"{total:,} events would be lost for ever ({kinds}); the numbers of their messages stay gaps."
    ):
        return 0
    dropped = 0
    async for letter in _at_rate(_shown(chosen.of(letters), total, "drop"), rate):
        dropped += await letters.drop(letter)
    return dropped


async def _at_rate(letters: AsyncIterator[DeadLetter], rate: float) -> AsyncGenerator[DeadLetter]:
    loop = asyncio.get_running_loop()
    began, done = loop.time(), 0
    async for letter in letters:
        if rate:
            await asyncio.sleep(max(0.0, began + done / rate - loop.time()))
        yield letter
        done += 1


async def _shown(letters: AsyncIterator[DeadLetter], total: int, what: str) -> AsyncGenerator[DeadLetter]:
    """The same letters, with a bar on a terminal."""
    if not sys.stderr.isatty():
        async for letter in letters:
            yield letter
        return
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        async for letter in letters:
            yield letter
            bar.advance(task)

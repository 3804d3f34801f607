"""The persister: one reader for each partition, a bounded channel, one writer, and upkeep."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import structlog

from common.redis.commands import Client
from common.redis.group import ConsumerGroup, Entry
from common.settings import PersisterSettings
from services.persister.breaker import Breaker
from services.persister.channel import Channel, size_of
from services.persister.reader import Reader
from services.persister.recorder import Recorder
from services.persister.upkeep import Upkeep

MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
STOP_GRACE_SECONDS: Final = 8.0
"""Less than a supervisor waits before it kills."""

log = structlog.get_logger(__name__)


def consumer_name() -> str:
    """A name that no other process has, now or later."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


class Persister:
    """Writes the log to PostgreSQL. `blocking` has one connection for each partition."""

    def __init__(
        self,
        group: ConsumerGroup,
        blocking: Sequence[Client],
        *,
        recorder: Recorder,
        breaker: Breaker,
        upkeep: Upkeep,
        settings: PersisterSettings,
        consumer: str,
    ) -> None:
        self.name = consumer
        self._batch_events = settings.batch_events
        self._channel = Channel(max_entries=settings.batch_events, max_bytes=MAX_BATCH_BYTES)
        self._recorder = recorder
        self._breaker = breaker
        self._upkeep = upkeep
        self._readers = [
            Reader(group, client, self._channel, partition=partition, consumer=consumer, settings=settings)
            for partition, client in enumerate(blocking)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what was read. A task that dies ends all the others.

        What is not finished within the grace is neither lost nor done twice: it was not acknowledged,
        so another consumer claims it.
        """
        try:
            await self._work(stop)
        finally:
            await self._recorder.give_up()

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(reader.run(stop)) for reader in self._readers]
            writing = tasks.create_task(self._write())
            upkeep = tasks.create_task(self._upkeep.run())
            await stop.wait()
            upkeep.cancel()
            closing = tasks.create_task(self._close_after(readers))
            await asyncio.wait([closing, writing], timeout=STOP_GRACE_SECONDS)
            if self._channel.unsettled:
                log.warning("stopped_before_all_was_written", unfinished=self._channel.unsettled)
            for task in (*readers, closing, writing):
                task.cancel()

    def claim_soon(self, partition: int) -> None:
        """There is something to claim in `partition`."""
        self._readers[partition].claim_soon()

    async def _close_after(self, readers: Sequence[asyncio.Task[None]]) -> None:
        # While the breaker is open nobody makes room for what a reader still wants to put.
        if not self._breaker.is_open:
            await asyncio.wait(readers)
        await self._channel.close()

    async def _write(self) -> None:
        # No waiting for a batch to fill: whatever came while the last was written is the next.
        held: list[Entry] = []
        while True:
            fresh = await self._channel.take(
                self._room_beside(held), within=self._breaker.seconds_to_probe if held else None
            )
            if self._channel.closed and not fresh:
                await self._recorder.finish()
                return
            if held and self._breaker.seconds_to_probe > 0:
                entries, waiting = fresh, held
            else:
                entries, waiting = [*held, *fresh], []
            held = await self._recorder.record(entries, waiting)
            kept = set(map(id, held))
            self._channel.settle(entry for entry in (*entries, *waiting) if id(entry) not in kept)

    def _room_beside(self, held: Sequence[Entry]) -> int:
        """How many more entries may be taken: what is held back counts, in number and in size."""
        if sum(map(size_of, held)) >= MAX_BATCH_BYTES:
            return 0
        return max(0, self._batch_events - len(held))

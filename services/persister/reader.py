"""Reads one partition of the log: first what another consumer left behind, then what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from common.domain.errors import LogUnavailable
from common.domain.ids import Position
from common.redis.commands import Client
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup, Entry, GroupMissing
from common.settings import PersisterSettings
from services.persister.channel import Channel
from services.persister.retrying import retrying

READ_COUNT: Final = 200
"""Entries of one page, of which none is large: else the page is bounded in bytes, too (ADR 0054)."""

log = structlog.get_logger(__name__)


class Reader:
    """One consumer of one partition. `blocking` is its own connection: a read holds it up."""

    def __init__(
        self,
        group: ConsumerGroup,
        blocking: Client,
        channel: Channel,
        *,
        partition: int,
        consumer: str,
        settings: PersisterSettings,
    ) -> None:
        self._group = group
        self._blocking = blocking
        self._functions = Functions(blocking)
        self._channel = channel
        self._partition = partition
        self._consumer = consumer
        self._block_ms = settings.block_ms
        self._min_idle_seconds = settings.claim_min_idle_seconds
        self._claim_at = 0.0
        self._claim_asked = False
        self._last = Position("0-0")

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set. What was read by then is in the channel."""
        try:
            while not stop.is_set():
                async for attempt in retrying(LogUnavailable, unless=stop):
                    with attempt:
                        await self._read()
        except LogUnavailable:
            if not stop.is_set():
                raise

    async def _read(self) -> None:
        try:
            if self._claim_asked or asyncio.get_running_loop().time() >= self._claim_at:
                await self._claim()
                return
            entries = await self._next()
        except LogUnavailable:
            self._last = Position("0-0")  # it may come back older, and deliver again what it did before
            raise
        except GroupMissing:
            self._last = Position("0-0")
            await self._group.create(self._partition)
            log.info("consumer_group_created", partition=self._partition)
        else:
            await self._channel.put(entries)

    async def _next(self) -> list[Entry]:
        """What is new, up to a page; waits for it as long as a read may block."""
        read = self._partition, self._consumer
        count = READ_COUNT
        if await self._group.may_be_large(self._blocking, self._partition, after=self._last):
            # How many of them are a page only Redis can say, and it takes its time for that.
            entries = await self._group.read_page(self._functions, *read, count=READ_COUNT)
            count = 1
        else:
            entries = []
        if not entries:
            entries = await self._group.read_new(self._blocking, *read, count=count, block_ms=self._block_ms)
        if entries:
            self._last = entries[-1].position
        return entries

    def claim_soon(self) -> None:
        """Claim as soon as the read that is under way ends, instead of when it is time."""
        self._claim_asked = True

    async def _claim(self) -> None:
        self._claim_asked = False
        try:
            await self._claim_all()
        except BaseException:
            self._claim_asked = True
            raise
        self._claim_at = asyncio.get_running_loop().time() + self._min_idle_seconds / 3

    async def _claim_all(self) -> None:
        pages = self._group.claim_stale(
            self._partition,
            self._consumer,
            min_idle_ms=int(self._min_idle_seconds * 1000),
            count=READ_COUNT,
        )
        async for page in pages:
            if page.lost:
                report_lost(self._partition, page.lost)
            if page.entries:
                log.info("entries_claimed", partition=self._partition, count=len(page.entries))
                await self._channel.put(page.entries)


def report_lost(partition: int, positions: Sequence[Position]) -> None:
    """Trimming keeps what is not settled, so somebody else took entries off the log."""
    log.error("log_entries_lost", partition=partition, count=len(positions), positions=positions[:20])

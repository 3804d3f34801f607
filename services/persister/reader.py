"""Reads one partition of the log: first what another consumer left behind, then what is new."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from common.domain.errors import LogUnavailable
from common.redis.commands import Client
from common.redis.group import ConsumerGroup, GroupMissing
from common.settings import PersisterSettings
from services.persister.channel import Channel
from services.persister.retrying import retrying

READ_COUNT: Final = 200
"""Entries of one read. More would be faster by little, and a client may send large ones."""

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
        self._channel = channel
        self._partition = partition
        self._consumer = consumer
        self._block_ms = settings.block_ms
        self._min_idle_seconds = settings.claim_min_idle_seconds
        self._claim_at = 0.0

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
            if asyncio.get_running_loop().time() >= self._claim_at:
                await self._claim()
                return
            entries = await self._group.read_new(
                self._blocking, self._partition, self._consumer, count=READ_COUNT, block_ms=self._block_ms
            )
        except GroupMissing:
            await self._group.create(self._partition)
            log.info("consumer_group_created", partition=self._partition)
        else:
            await self._channel.put(entries)

    async def _claim(self) -> None:
        pages = self._group.claim_stale(
            self._partition,
            self._consumer,
            min_idle_ms=int(self._min_idle_seconds * 1000),
            count=READ_COUNT,
        )
        async for page in pages:
            if page.lost:
                # Trimming keeps what is not settled, so somebody else took entries off the log.
                log.error(
                    "log_entries_lost",
                    partition=self._partition,
                    count=len(page.lost),
                    positions=page.lost[:20],
                )
            if page.entries:
                log.info("entries_claimed", partition=self._partition, count=len(page.entries))
                await self._channel.put(page.entries)
        self._claim_at = asyncio.get_running_loop().time() + self._min_idle_seconds / 3

"""A miss → a rebuild → an answer."""

from __future__ import annotations

import asyncio

import structlog

from common.domain.errors import Busy, ConversationNotFound
from common.loading import Loader
from common.redis.commands import Client
from common.redis.misses import Answer, Miss, MissQueue

log = structlog.get_logger(__name__)


class CacheBuilder:
    """Serves the requests of all gateways, `concurrency` at once, each conversation once at a time."""

    def __init__(self, queue: MissQueue, loader: Loader, *, concurrency: int) -> None:
        self._queue = queue
        self._loader = loader
        self._slots = asyncio.Semaphore(concurrency)

    async def serve(self, blocking: Client, partition: int, consumer: str, *, block_ms: int) -> None:
        """Serve one partition's requests until cancelled; `blocking` is a client for this call alone."""
        async with asyncio.TaskGroup() as rebuilds:
            requests = self._queue.read(blocking, partition, consumer, block_ms=block_ms)
            async for miss in requests:
                # Bounded: while all slots are taken, further requests wait in the stream.
                await self._slots.acquire()
                if asyncio.get_running_loop().time() > miss.until:
                    # Its reader has done the work for itself by now.
                    self._slots.release()
                    log.debug("stale_request_skipped", partition=partition)
                    continue
                rebuilds.create_task(self._handle(miss))

    async def _handle(self, miss: Miss) -> None:
        try:
            await self._rebuild(miss)
            answer = Answer.LOADED
        except ConversationNotFound:
            answer = Answer.ABSENT
        except Busy as error:
            # No answer: the gateway tries for itself, and tells its client what it finds.
            log.warning("rebuild_failed", reason=str(error))
            return
        finally:
            self._slots.release()
        try:
            await self._queue.answer(miss, answer)
        except Busy as error:
            log.warning("answer_failed", reason=str(error))

    async def _rebuild(self, miss: Miss) -> None:
        if miss.conversation is None:
            await self._loader.user_list(miss.user)
        else:
            await self._loader.conversation(miss.user, miss.conversation)

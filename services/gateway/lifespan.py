"""Between the server and the application: what a worker opens at its start and closes at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import structlog

from common.domain.errors import TurnlogError

CANCEL_AGAIN_SECONDS: Final = 1.0

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGI = Callable[[Any, Any, Any], Awaitable[None]]

log = structlog.get_logger(__name__)


class Lifespan:
    """An ASGI application that opens another one when the worker starts, and closes it at the end.

    A failure to open is logged and ends the worker.
    """

    def __init__(self, opener: Callable[[], AbstractAsyncContextManager[ASGI]]) -> None:
        self._opener = opener
        self._app: ASGI | None = None

    def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """Handle the lifespan; pass everything else on to the application."""
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        if self._app is None:
            raise RuntimeError("a request before the start or after the end")
        return self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                self._app = await stack.enter_async_context(self._opener())
            except TurnlogError as error:
                await _failed(send, str(error))
                return
            except Exception as error:
                log.exception("start_failed")
                await _failed(send, repr(error))
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _failed(send: Send, reason: str) -> None:
    log.error("cannot_start", reason=reason)
    await send({"type": "lifespan.startup.failed", "message": reason})


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Have `work` done until the block ends. A failure of it is logged at once, and ends nothing else."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_report_failure)
    try:
        yield
    finally:
        while not task.done():
            # More than once where need be: redis-py can swallow a cancellation while it connects.
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background_work_failed", exc_info=error)

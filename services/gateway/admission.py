"""How much a worker takes on at once: requests, and bytes of their bodies. What is over that is told so.

Most of what waits inside a worker waits for some request: for a connection to PostgreSQL, a cold
conversation, `ack=persisted`. So this bound is theirs, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import structlog

from common.domain.errors import Overloaded
from common.settings import GatewaySettings
from services.gateway.access import SECURITY_HEADERS
from services.gateway.problems import CONTENT_TYPE, from_domain

ALWAYS: Final = ("/healthz", "/readyz")
"""Whoever watches a worker that has all it can take must not take it for dead."""
SAY_EVERY_SECONDS: Final = 5.0
_WITH_BODY: Final = ("POST", "PATCH", "PUT")

log = structlog.get_logger(__name__)


class Admission:
    """Admits at most `max_requests` requests and `max_body_bytes` of announced bodies at a time.

    A body whose length is not announced counts as `longest_body` bytes. A body larger than what there is
    room for at all is admitted alone.
    """

    def __init__(self, settings: GatewaySettings, *, longest_body: int) -> None:
        self._max_requests = settings.max_requests
        self._max_body_bytes = settings.max_body_bytes
        self._longest_body = longest_body
        self.requests = 0
        self.body_bytes = 0
        self._refused = 0
        self._said_at = 0.0

    @contextmanager
    def admit(self, scope: dict[str, Any]) -> Generator[None]:
        """Hold a place for a request. Raises Overloaded."""
        size = self._size(scope)
        if scope["path"] not in ALWAYS:
            if self.requests >= self._max_requests:
                raise self._overloaded("requests")
            if self.body_bytes and self.body_bytes + size > self._max_body_bytes:
                raise self._overloaded("body_bytes")
        self.requests += 1
        self.body_bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.body_bytes -= size

    def _size(self, scope: dict[str, Any]) -> int:
        if scope["method"] not in _WITH_BODY:
            return 0
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                # More than the longest is refused without being kept.
                return min(int(value), self._longest_body)
        return self._longest_body

    def _overloaded(self, over: str) -> Overloaded:
        self._refused += 1
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_SECONDS:
            log.warning("requests_refused", over=over, count=self._refused, in_progress=self.requests)
            self._refused, self._said_at = 0, now
        return Overloaded("Too many requests are in progress; nothing was stored")


async def refuse(error: Overloaded, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer without looking at the request any further."""
    problem = from_domain(error)
    body = problem.to_json()
    headers = {
        **SECURITY_HEADERS,
        **problem.headers,
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
    }
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})

"""What surrounds every request: its id, the headers every reply has, and its line in the access log.

Lines are written by a task of their own, never while a request waits. Failures are always written; of the
successes as many as LINES_PER_FLUSH allows, and how many were left out.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from time import perf_counter
from typing import Final, NamedTuple
from uuid import uuid4

import structlog
from falcon.asgi import Request, Response

FLUSH_SECONDS: Final = 0.5
LINES_PER_FLUSH: Final = 100
MAX_WAITING: Final = 10_000
SLOW_SECONDS: Final = 1.0

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

log = structlog.get_logger(__name__)


class Line(NamedTuple):
    """One request as it is logged: no address, no query, no content.

    `service` acted for the user; `refused` is why nobody was let in.
    """

    method: str
    path: str
    status: int
    seconds: float
    request_id: str
    user: str | None
    service: str | None
    refused: str | None

    @property
    def important(self) -> bool:
        """Whether it is written however many there are."""
        return self.status >= 400 or self.seconds >= SLOW_SECONDS


class AccessLog:
    """Collects lines and writes them in batches."""

    def __init__(self) -> None:
        self._waiting: deque[Line] = deque(maxlen=MAX_WAITING)

    def add(self, line: Line) -> None:
        """Note a request that was answered."""
        self._waiting.append(line)

    async def run(self) -> None:
        """Write lines until cancelled; then write what is left."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                self.flush()
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        room = LINES_PER_FLUSH
        left_out = 0
        for line in self._waiting:
            if not line.important and room <= 0:
                left_out += 1
                continue
            room -= 1
            fields = line._asdict()
            fields["ms"] = round(fields.pop("seconds") * 1000, 2)
            for name in ("service", "refused"):
                if fields[name] is None:
                    del fields[name]
            log.info("request", **fields)
        if left_out:
            log.info("requests_not_listed", count=left_out, status="below 400")
        self._waiting.clear()


class Surroundings:
    """Falcon middleware: request id, common headers, access log."""

    def __init__(self, access_log: AccessLog) -> None:
        self._access_log = access_log

    async def process_request(self, req: Request, resp: Response) -> None:
        """Before anything can fail: give the request an id, and the reply its common headers."""
        given = req.get_header("X-Request-ID")
        request_id = given if given and _SANE_REQUEST_ID.match(given) else uuid4().hex
        req.context.request_id = request_id
        req.context.started = perf_counter()
        req.context.caller = None
        req.context.refused = None
        resp.set_headers(SECURITY_HEADERS)
        resp.set_header("X-Request-ID", request_id)

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """When the reply is ready."""
        caller = req.context.caller
        self._access_log.add(
            Line(
                method=req.method,
                path=req.uri_template or "(no route)",
                status=resp.status_code,
                seconds=perf_counter() - req.context.started,
                request_id=req.context.request_id,
                user=caller.user_id if caller else None,
                service=caller.service if caller else None,
                refused=req.context.refused,
            )
        )

"""Makes calls and writes down each with its outcome, whatever happens to it."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

import httpx
import orjson

from tests.chaos import asks
from tests.chaos.asks import Ask
from tests.chaos.gate import Gate
from tests.chaos.history import (
    APPENDS,
    LISTS,
    MALFORMED,
    NO_REPLY,
    Kind,
    Message,
    Operation,
    Outcome,
    Recorder,
    Reply,
    Row,
)
from tests.chaos.tags import tag_of, title_tag

WALK_LIMIT = 100


@dataclass
class Caller:
    """Sends what it is given through whichever gateway it is told. `within` bounds a call, in seconds."""

    http: httpx.AsyncClient
    token_for: Callable[[str], str]
    recorder: Recorder
    within: float
    gate: Gate = field(default_factory=Gate)
    final: bool = False
    _tokens: dict[str, str] = field(default_factory=dict[str, str])

    async def call(
        self,
        ask: Ask,
        gateway: str,
        *,
        id_: str,
        client: str = "",
        retry_of: str | None = None,
        within: float | None = None,
    ) -> Operation:
        """Make one call. Never raises for what the network or the server does: the operation says it."""
        return await self._recorded(
            lambda: self._send(ask, gateway),
            ask,
            gateway,
            id_=id_,
            client=client,
            retry_of=retry_of,
            within=within,
        )

    async def walk(self, user: str, gateway: str, *, id_: str, client: str = "") -> Operation:
        """All conversations of a user, cursor after cursor; unknown as a whole if any part of it fails."""
        first = asks.listing(user, limit=WALK_LIMIT)
        whole = replace(first, kind=Kind.WALK)
        return await self._recorded(
            lambda: self._send_all(first, gateway),
            whole,
            gateway,
            id_=id_,
            client=client,
            retry_of=None,
            within=None,
        )

    async def _recorded(
        self,
        send: Callable[[], Awaitable[tuple[int, Any]]],
        ask: Ask,
        gateway: str,
        *,
        id_: str,
        client: str,
        retry_of: str | None,
        within: float | None,
    ) -> Operation:
        async with self.gate.call():
            status, outcome, reply, error = None, Outcome.UNKNOWN, NO_REPLY, None
            invoked = time.monotonic_ns()
            try:
                async with asyncio.timeout(within or self.within):
                    status, answer = await send()
                reply = reply_of(ask.kind, answer) if 200 <= status < 300 else NO_REPLY
                outcome = outcome_of(status)
            except (httpx.HTTPError, TimeoutError) as failure:
                error = f"{type(failure).__name__} {failure}".strip()
            except (ValueError, KeyError, TypeError) as failure:
                error = f"{MALFORMED}: {failure!r}"
            except asyncio.CancelledError:
                error = "cancelled"
                raise
            finally:
                operation = Operation(
                    id_,
                    client,
                    gateway,
                    ask.user,
                    ask.kind,
                    ask.arguments,
                    invoked,
                    time.monotonic_ns(),
                    outcome,
                    status,
                    reply,
                    retry_of,
                    self.final,
                    error,
                )
                self.recorder.record(operation)
        return operation

    async def _send(self, ask: Ask, gateway: str) -> tuple[int, Any]:
        sent = await self.http.request(
            ask.method,
            gateway + ask.path,
            params=ask.params or None,
            content=ask.body,
            headers={"Authorization": f"Bearer {self._token(ask.user)}", **ask.headers},
        )
        body = orjson.loads(sent.content) if sent.is_success and sent.content else {}
        return sent.status_code, body

    async def _send_all(self, first: Ask, gateway: str) -> tuple[int, Any]:
        rows: list[Any] = []
        ask = first
        for _ in itertools.count():
            status, answer = await self._send(ask, gateway)
            if status != 200:
                return status, {}
            rows += answer["conversations"]
            if answer["next_cursor"] is None:
                break
            ask = asks.listing(first.user, limit=WALK_LIMIT, cursor=answer["next_cursor"])
        return 200, {"conversations": rows, "next_cursor": None}

    def _token(self, user: str) -> str:
        if user not in self._tokens:
            self._tokens[user] = self.token_for(user)
        return self._tokens[user]


def outcome_of(status: int) -> Outcome:
    """What a status tells for certain. A 5xx may come after the work was done; so may a 408."""
    if 200 <= status < 300:
        return Outcome.OK
    return Outcome.REFUSED if 400 <= status < 500 and status != 408 else Outcome.UNKNOWN


def reply_of(kind: Kind, answer: dict[str, Any]) -> Reply:
    """What is checked of the body of a good answer."""
    if kind is Kind.DELETE:
        return NO_REPLY
    if kind in LISTS:
        rows = tuple(map(_row, answer["conversations"]))
        pagination = answer.get("pagination", {})
        more = bool(answer.get("next_cursor") or pagination.get("has_next"))
        return Reply(rows=rows, total=pagination.get("total"), more=more)
    messages = tuple(Message(m["sequence_number"], tag_of(m), m["id"]) for m in answer.get("messages", ()))
    return Reply(
        conversation=answer["conversation_id"],
        messages=messages,
        at_ms=_ms(answer["messages"][0]["created_at"]) if kind in APPENDS else None,
        header=_row(answer) if "last_modified" in answer else None,
        total=answer.get("pagination", {}).get("total"),
    )


def _row(summary: dict[str, Any]) -> Row:
    return Row(
        summary["conversation_id"],
        _ms(summary["last_modified"]),
        summary["message_count"],
        title_tag(summary["title"]),
    )


def _ms(time_text: str) -> int:
    return round(datetime.fromisoformat(time_text).timestamp() * 1000)


@asynccontextmanager
async def http_client(connections: int) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that neither follows nor repeats anything."""
    if find_spec("sniffio") is None:
        # httpcore looks for it at every request, along the whole path.
        sys.modules["sniffio"] = cast(ModuleType, None)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    # verify: plain HTTP; what TLS would need takes longer to load than a test to run.
    async with httpx.AsyncClient(limits=limits, timeout=None, verify=False, trust_env=False) as http:
        yield http

"""A load of real sizes: batches appended and read back at a pace, whatever the answers are, with accounts."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final

import httpx
import orjson

from tests.chaos.caller import http_client

URL: Final = "/api/conversations"
CALL_SECONDS: Final = 15.0
_SIZES: Final = (200, 500, 1_000, 2_000, 8_000)
"""Characters of a message, each as likely: a question, answers, a tool's output. 2.3 KB on the mean."""
_TEXT: Final = "the quick brown fox jumps over the lazy dog and the turn is logged " * 120
_MESSAGES_PER_CONVERSATION: Final = 200


@dataclass(frozen=True)
class Pace:
    """How much is asked, of all clients together."""

    clients: int = 48
    appends: float = 100.0
    """Requests per second."""
    batch: int = 10
    """Messages of one request."""
    reads: float = 50.0
    """Requests per second."""


@dataclass
class Ledger:
    """What was asked and answered. Texts begin with a tag of their own, by which they are found again."""

    acknowledged: dict[str, list[tuple[int, str, str]]] = field(
        default_factory=dict[str, list[tuple[int, str, str]]]
    )
    """By conversation: number, id and tag of each message, in the order of the answers."""
    users: dict[str, str] = field(default_factory=dict[str, str])
    """Whose a conversation is."""
    unknown: set[str] = field(default_factory=set[str])
    """Tags of messages of which nobody said what became of them."""
    offered: int = 0
    taken: int = 0
    refused: int = 0
    """Messages: asked for, acknowledged, refused with "nothing was stored"."""
    reads: Counter[str] = field(default_factory=Counter[str])
    """Reads by status."""
    others: Counter[str] = field(default_factory=Counter[str])
    """Other answers to appends, by status and text."""


class Writer:
    """One client: appends to a conversation of its own until that is long, then to a new one."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        gateways: Sequence[str],
        *,
        user: str,
        token: str,
        batch: int,
        ledger: Ledger,
    ) -> None:
        self._http = http
        self._gateways = gateways
        self._user = user
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._batch = batch
        self._ledger = ledger
        self._random = random.Random(user)
        self._conversation: str | None = None
        self._count = 0

    async def append(self) -> None:
        """Append one batch and account for it."""
        ledger = self._ledger
        tags = [f"{self._user}/{self._count + index}" for index in range(self._batch)]
        self._count += self._batch
        ledger.offered += self._batch
        body = {"messages": [{"role": "user", "content": self._text(tag)} for tag in tags]}
        if self._conversation:
            body |= {"conversation_id": self._conversation}
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reply = await self._http.post(
                    self._gateway() + URL + "/messages", content=orjson.dumps(body), headers=self._headers
                )
        except (httpx.HTTPError, TimeoutError) as error:
            ledger.unknown.update(tags)
            ledger.others[type(error).__name__] += 1
            return
        if reply.status_code == 201:
            self._acknowledge(orjson.loads(reply.content), tags)
        elif reply.status_code == 503 and "nothing was stored" in reply.text:
            ledger.refused += self._batch
        else:
            ledger.unknown.update(tags)
            ledger.others[f"{reply.status_code} {_detail(reply)}"] += 1

    async def read(self) -> None:
        """Read the end of the conversation that is being written: it is cached."""
        conversation = self._conversation
        if conversation is None:
            return
        address = f"{self._gateway()}{URL}/{conversation}/messages"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reply = await self._http.get(address, params={"limit": 10}, headers=self._headers)
        except (httpx.HTTPError, TimeoutError) as error:
            self._ledger.reads[type(error).__name__] += 1
        else:
            self._ledger.reads[str(reply.status_code)] += 1

    def _acknowledge(self, answer: dict[str, Any], tags: Sequence[str]) -> None:
        ledger, conversation = self._ledger, answer["conversation_id"]
        ledger.taken += len(tags)
        ledger.users[conversation] = self._user
        held = ledger.acknowledged.setdefault(conversation, [])
        pairs = zip(answer["messages"], tags, strict=True)
        held += [(message["sequence_number"], message["id"], tag) for message, tag in pairs]
        self._conversation = conversation if len(held) < _MESSAGES_PER_CONVERSATION else None

    def _gateway(self) -> str:
        return self._random.choice(self._gateways)

    def _text(self, tag: str) -> str:
        return f"{tag} {_TEXT[: self._random.choice(_SIZES)]}"


@asynccontextmanager
async def load(
    gateways: Sequence[str],
    *,
    token_for: Callable[[str], str],
    pace: Pace,
    prefix: str,
    among: Callable[[str], bool] = lambda _: True,
) -> AsyncGenerator[Ledger]:
    """Ask at `pace` until the block ends, as users whose names begin with `prefix` and are `among` those
    wanted. Who is behind does not make up for it."""
    ledger = Ledger()
    async with http_client(4 * pace.clients) as http:
        names = (f"{prefix}-{number}" for number in count())
        users = list(islice(filter(among, names), pace.clients))
        writers = [
            Writer(http, gateways, user=user, token=token_for(user), batch=pace.batch, ledger=ledger)
            for user in users
        ]
        tasks = [
            asyncio.create_task(_again_and_again(work, rate / pace.clients, number / pace.clients))
            for number, writer in enumerate(writers)
            for work, rate in ((writer.append, pace.appends), (writer.read, pace.reads))
        ]
        try:
            yield ledger
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            raise RuntimeError("the load ended by itself") from error


async def _again_and_again(work: Callable[[], Any], per_second: float, phase: float) -> None:
    period = 1 / per_second
    due = time.monotonic() + phase * period
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        # A cancelled call would leave it open what became of it.
        await _to_its_end(work)
        due = max(due + period, time.monotonic())


async def _to_its_end(work: Callable[[], Any]) -> None:
    task = asyncio.ensure_future(work())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _detail(reply: httpx.Response) -> str:
    try:
        return str(orjson.loads(reply.content).get("detail"))[:80]
    except ValueError:
        return ""

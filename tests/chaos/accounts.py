"""Holds what was acknowledged under a load against what PostgreSQL has, and against what a read gives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import httpx
import orjson

from tests.chaos.caller import http_client
from tests.chaos.load import URL, Ledger

_READERS: Final = 8
_PAGE: Final = 100


async def compare_rows(dsn: str, prefix: str, ledger: Ledger) -> Counter[str]:
    """What is wrong with the rows, by kind: `lost`, `duplicated`, `reordered`, `stored though refused`."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT conversation_id::text, sequence_number, id, split_part(payload->>'content', ' ', 1)"
            " FROM messages WHERE starts_with(user_id, $1)",
            prefix,
        )
    finally:
        await connection.close()
    wrong = Counter[str](dict.fromkeys(("lost", "duplicated", "reordered", "stored though refused"), 0))
    stored = {(conversation, number): (id_, tag) for conversation, number, id_, tag in rows}
    known = set[str]()
    for conversation, messages in ledger.acknowledged.items():
        numbers = [number for number, _, _ in messages]
        wrong["reordered"] += numbers != sorted(set(numbers))
        for number, id_, tag in messages:
            known.add(tag)
            wrong["lost"] += stored.get((conversation, number)) != (id_, tag)
    tags = Counter(tag for *_, tag in rows)
    wrong["duplicated"] += sum(count - 1 for count in tags.values())
    wrong["stored though refused"] += len(tags.keys() - known - ledger.unknown)
    return wrong


async def read_back(gateways: Sequence[str], token_for: Callable[[str], str], ledger: Ledger) -> Counter[str]:
    """Read every conversation whole, from every gateway: `missing` messages, and calls that `failed`."""
    wrong = Counter[str]({"missing": 0, "failed": 0})
    waiting = [(gateway, conversation) for gateway in gateways for conversation in ledger.acknowledged]
    async with http_client(_READERS) as http:

        async def reader() -> None:
            while waiting:
                gateway, conversation = waiting.pop()
                headers = {"Authorization": f"Bearer {token_for(ledger.users[conversation])}"}
                found = await _whole(http, f"{gateway}{URL}/{conversation}/messages", headers)
                if found is None:
                    wrong["failed"] += 1
                    continue
                wanted = {(number, id_) for number, id_, _ in ledger.acknowledged[conversation]}
                wrong["missing"] += len(wanted - found)

        await asyncio.gather(*(reader() for _ in range(_READERS)))
    return wrong


async def _whole(
    http: httpx.AsyncClient, address: str, headers: dict[str, str]
) -> set[tuple[int, str]] | None:
    found, number = set[tuple[int, str]](), 1
    while True:
        params = {"page": number, "page_size": _PAGE}
        reply = await http.get(address, params=params, headers=headers, timeout=30)
        if reply.status_code != 200:
            return None
        answer = orjson.loads(reply.content)
        found |= {(message["sequence_number"], message["id"]) for message in answer["messages"]}
        if not answer["pagination"]["has_next"]:
            return found
        number += 1

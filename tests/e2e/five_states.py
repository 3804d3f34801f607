"""What was imported is read back over HTTP as it stands in the files, whatever happened in between.

A library for the test beside it, and a command for the real data:
`python -m tests.e2e.five_states ../shared/data/sgd-dev.jsonl ../shared/data/taskmaster4.jsonl`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import redis.asyncio

from common.settings import Settings
from tests.instances import RunningUp, command_of, running_up, turnlog, wait_gone
from tests.waiting import wait_until
from tools.connections import Connections, connected
from tools.paths import ROOT
from tools.settling import log_ends, outstanding, wait_settled
from tools.token import mint_token
from tools.up.port import is_ready

SERVICES = ("gateway", "persister", "cache_builder")
AT_ONCE = 16
# A persister that was killed holds entries; another takes them over after this time.
ENVIRONMENT = {"PERSISTER_CLAIM_MIN_IDLE_SECONDS": "2"}
ASSIGNED = {"id", "sequence_number"}

Report = Callable[[str], None]


@dataclass(frozen=True)
class Chat:
    """A conversation as it stands in a file."""

    user: str
    id: str
    title: str | None
    model: str | None
    messages: list[dict[str, Any]]


def load(paths: Iterable[Path]) -> list[Chat]:
    """Every conversation of the files."""
    lines = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
    return [
        Chat(line["user_id"], line["conversation_id"], line["title"], line["model"], line["messages"])
        for line in lines
    ]


async def show_five_states(data_dir: Path, paths: Sequence[Path], report: Report) -> None:
    """Import the files into a fresh instance and compare, in each of the five states.

    A quarter of the conversations is imported while the persister stands still, so that for a while it
    is only pending. Raises AssertionError, which names what differs.
    """
    chats = load(paths)
    early, late = _split(paths, data_dir.parent)
    async with running_up(data_dir, environment=ENVIRONMENT) as up, connected(up.settings, "test") as at:
        report(_import(data_dir, early))
        persister = up.find("services.persister")
        persister.suspend()
        report(_import(data_dir, late, "--no-wait"))
        await _compare(up, chats, report, "hot, a part of it only pending")

        await _drop_caches(up.settings)
        waiting = await _waiting(at)
        assert waiting > 0
        assert await _message_rows(up.settings) < sum(len(chat.messages) for chat in chats)
        await _compare(up, chats, report, f"caches dropped, {waiting:,} events only pending")

        await _kill_services(up)
        await _compare(up, chats, report, "after kill -9 of all three services")
        assert await wait_settled(at.group, await log_ends(at.group, at.keys.partitions))

        await _drop_caches(up.settings)
        await _compare(up, chats, report, "all in PostgreSQL, caches dropped")
        assert await _parked(at) == 0

    async with running_up(data_dir, environment=ENVIRONMENT) as up:
        await _compare(up, chats, report, "after a restart of everything")
        await _compare_rows(up.settings, chats)
        report("PostgreSQL has exactly these rows, each once")


def _split(paths: Sequence[Path], directory: Path) -> tuple[Path, Path]:
    """Every fourth conversation in the second file."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    early, late = directory / "early.jsonl", directory / "late.jsonl"
    early.write_text("\n".join(line for i, line in enumerate(lines) if i % 4) + "\n", "utf-8")
    late.write_text("\n".join(lines[::4]) + "\n", "utf-8")
    return early, late


def _import(data_dir: Path, path: Path, *options: str) -> str:
    result = subprocess.run(
        turnlog("import", str(path), "--data-dir", str(data_dir), *options),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout.rstrip()


async def _compare(up: RunningUp, chats: Sequence[Chat], report: Report, state: str) -> None:
    """Read every conversation as its user, and compare it with the file."""
    began = time.monotonic()
    waiting = asyncio.Queue[Chat]()
    for chat in chats:
        waiting.put_nowait(chat)
    async with _client(up) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_compare_each(client, up.settings, waiting, state))
    report(f"{state}: {len(chats):,} conversations are equal ({time.monotonic() - began:.1f} s)")


@asynccontextmanager
async def _client(up: RunningUp) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=up.url, timeout=30, trust_env=False) as client:
        yield client


async def _compare_each(
    client: httpx.AsyncClient, settings: Settings, waiting: asyncio.Queue[Chat], state: str
) -> None:
    while not waiting.empty():
        chat = waiting.get_nowait()
        headers = {"Authorization": f"Bearer {mint_token(settings.identity, chat.user)}"}
        reply = await client.get(
            f"/api/conversations/{chat.id}/messages", params={"limit": 1000}, headers=headers
        )
        assert reply.status_code == 200, f"{state}: {chat.id} of {chat.user}: {reply.text}"
        messages = reply.json()["messages"]
        numbers = [message["sequence_number"] for message in messages]
        assert numbers == list(range(len(chat.messages))), f"{state}: {chat.id}: {numbers}"
        assert [_as_sent(message) for message in messages] == chat.messages, f"{state}: {chat.id}"


def _as_sent(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ASSIGNED}


async def _drop_caches(settings: Settings) -> None:
    """Delete every key that may expire."""
    async with redis.asyncio.Redis.from_url(settings.redis.dsn) as client:
        keys = [key async for key in client.scan_iter(count=5000)]
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.pttl(key)
        lifetimes = await pipeline.execute()
        dropped = [key for key, lifetime in zip(keys, lifetimes, strict=True) if lifetime >= 0]
        assert dropped
        await client.unlink(*dropped)
        assert not [key async for key in client.scan_iter(match="*:messages", count=5000)]


async def _kill_services(up: RunningUp) -> None:
    """kill -9 of the gateway, the persister and the cache builder with all their workers."""
    mains = [up.find(f"services.{name}") for name in SERVICES]
    families = [process for main in mains for process in (main, *main.children(recursive=True))]
    for process in families:
        process.send_signal(signal.SIGKILL)
    await wait_gone(families)
    await wait_until(lambda: all(_runs(up, name) for name in SERVICES), timeout_seconds=30)
    port = int(up.url.rpartition(":")[2])
    await wait_until(lambda: is_ready("127.0.0.1", port), timeout_seconds=30)


def _runs(up: RunningUp, name: str) -> bool:
    return any(f"services.{name}" in command_of(process) for process in up.descendants())


async def _waiting(at: Connections) -> int:
    return await outstanding(at.group, at.keys.partitions)


async def _parked(at: Connections) -> int:
    return sum([await at.client.call("XLEN", at.keys.dead(p)) for p in range(at.keys.partitions)])


async def _message_rows(settings: Settings) -> int:
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        return await connection.fetchval("SELECT count(*) FROM messages")
    finally:
        await connection.close()


async def _compare_rows(settings: Settings, chats: Sequence[Chat]) -> None:
    """Every message is one row of its conversation and its user, and there is no other row."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        conversations = await connection.fetch(
            "SELECT user_id, id::text, title, model, message_count, deleted_at FROM conversations"
        )
        messages = await connection.fetch(
            "SELECT user_id, conversation_id::text, sequence_number, payload::text FROM messages"
        )
    finally:
        await connection.close()
    assert sorted(tuple(row) for row in conversations) == sorted(
        (chat.user, chat.id, chat.title, chat.model, len(chat.messages), None) for chat in chats
    )
    rows = {(user, chat, number): _as_sent(json.loads(text)) for user, chat, number, text in messages}
    assert len(messages) == len(rows) == sum(len(chat.messages) for chat in chats)
    expected = {
        (chat.user, chat.id, number): message
        for chat in chats
        for number, message in enumerate(chat.messages)
    }
    assert rows == expected


def main() -> None:
    """Run it on the files named on the command line."""
    from tests.e2e.conftest import temporary_data_dir

    paths = [Path(argument) for argument in sys.argv[1:]]
    if not paths:
        sys.exit(__doc__)
    with temporary_data_dir() as data_dir:
        asyncio.run(show_five_states(data_dir, paths, lambda text: print(text, flush=True)))  # noqa: T201


if __name__ == "__main__":
    main()

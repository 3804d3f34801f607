"""An operator's commands on a running instance: import, and status that tells what became of it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.commands import run
from tests.instances import RunningUp
from tests.waiting import wait_until
from tools.status.collect import collect

pytestmark = pytest.mark.e2e

ID = "61a8e726-5013-5ee7-89b1-491e1ee5baaf"


def status(up: RunningUp) -> dict[str, Any]:
    """What a program sees."""
    result = run("status", "--json", "--data-dir", str(up.data_dir))
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


async def test_from_an_import_to_a_hit_rate(up: RunningUp) -> None:
    """All services are up, what was imported is counted, and reads through any gateway are a rate."""
    messages = [{"role": "user", "content": f"message {i}"} for i in range(3)]
    path = up.data_dir.parent / "chat.jsonl"
    path.write_text(json.dumps({"conversation_id": ID, "user_id": "alice", "messages": messages}))
    imported = run("import", str(path), "--data-dir", str(up.data_dir))
    assert imported.returncode == 0, imported.stderr
    assert "in PostgreSQL" in imported.stdout

    found = status(up)
    assert {service["name"]: service["up"] for service in found["services"]} == {
        "gateway": True,
        "persister": True,
        "cache-builder": True,
    }
    assert found["postgres"]["messages"] == 3
    assert (
        sum(partition["not_read"] + partition["pending"] for partition in found["redis"]["partitions"]) == 0
    )
    assert found["problems"] == []
    assert found["notes"] == []

    token = run("token", "--user", "alice", "--data-dir", str(up.data_dir)).stdout.strip()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        for _ in range(4):
            reply = await client.get(f"{up.url}/api/conversations/{ID}/messages")
            assert [message["content"] for message in reply.json()["messages"]] == [
                message["content"] for message in messages
            ]

    async def counted() -> bool:
        redis = (await collect(up.settings, up.url)).redis
        return redis is not None and redis.hits_last_hour == 4

    await wait_until(counted)
    assert f"{100:.1f} %" in run("status", "--data-dir", str(up.data_dir)).stdout

"""An instance without Redis: `up` and the commands, in mode `local_psql`."""

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.commands import run
from tests.instances import command_of, running_up

pytestmark = pytest.mark.e2e


async def test_an_instance_without_redis(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Valkey, no persister and no cache builder; imports, reads and status work, and are told so."""
    monkeypatch.setenv("CHAT_HISTORY_MODE", "local_psql")
    line = {"conversation_id": "0199c9a0-0000-7000-8000-000000000001", "user_id": "local-test-client"}
    imported = data_dir.parent / "conversations.jsonl"
    imported.write_text(json.dumps(line | {"messages": [{"role": "user", "content": "Hello"}]}) + "\n")
    at = ("--data-dir", str(data_dir))
    async with running_up(data_dir) as up, httpx.AsyncClient(base_url=up.url) as client:
        running = " ".join(command_of(process) for process in up.descendants())
        assert "services.gateway" in running
        for absent in ("valkey-server", "services.persister", "services.cache_builder"):
            assert absent not in running
        assert (await client.get("/api/me")).json()["mode"] == "local_psql"

        for _ in range(2):
            done = run("import", str(imported), *at)
            assert done.returncode == 0, done.stderr
        [row] = (await client.get("/api/conversations")).json()["conversations"]
        assert (row["conversation_id"], row["message_count"]) == (line["conversation_id"], 1)

        status = run("status", "--json", *at)
        assert status.returncode == 0, status.stdout
        assert json.loads(status.stdout)["redis"] is None
        for service in ("persister", "cache-builder"):
            refused = run(service, *at)
            assert refused.returncode == 2
            assert refused.stderr.count("\n") == 1
            assert "without Redis" in refused.stderr

"""Exports from a real gateway process: as fast as the client reads, and what becomes of one that does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from common.domain.ids import ConversationId
from common.settings import Settings
from tests.exports import MEGABYTE, SlowReader, large_conversation, slow_reader
from tests.gateway_processes import GatewayProcess, gateway_process
from tests.redis_parts import ALICE, NOW
from tests.stage import Scene, scene_of
from tests.waiting import wait_until
from tools.token import mint_token

LARGE = 16
"""Megabytes: more than the kernel takes for a client that reads nothing."""


@dataclass(frozen=True)
class Stand:
    """A gateway process, a conversation that is too large for any buffer, and a small one, both Alice's."""

    process: GatewayProcess
    scene: Scene
    large: ConversationId
    small: ConversationId

    @property
    def path(self) -> str:
        """The export of the large one."""
        return f"/api/conversations/{self.large}/export"

    @property
    def token(self) -> str:
        """Alice's."""
        return mint_token(self.scene.settings.identity, ALICE)

    def slow_reader(self, path: str | None = None) -> AbstractContextManager[SlowReader]:
        """An export under way, of which nothing is read yet."""
        return slow_reader(self.process.url, path or self.path, self.token)

    async def ask(self, path: str) -> httpx.Response:
        """Another request of Alice's, in the meantime."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=self.process.url, headers=headers, timeout=30) as client:
            return await client.get(path)

    async def may_export(self) -> bool:
        """Whether there is a place for one more export of hers."""
        return (await self.ask(f"/api/conversations/{self.small}/export")).status_code == 200


@asynccontextmanager
async def stand(
    settings: Settings, tmp_path: Path, variables: dict[str, str] | None = None, *, megabytes: int = LARGE
) -> AsyncGenerator[Stand]:
    """A gateway with these variables, and the conversations."""
    variables = dict(variables or {})
    if not settings.uses_redis:
        variables["REDIS_ENABLED"] = "false"
    async with scene_of(settings) as scene:
        large = await large_conversation(scene, ALICE, megabytes)
        small = await scene.conversation(messages=1)
        with gateway_process(settings, tmp_path, **variables) as process:
            await process.ready()
            yield Stand(process, scene, large, small)


async def test_a_long_export_takes_no_memory_to_speak_of(kept: Settings, tmp_path: Path) -> None:
    """However slow the client, and however long the conversation: parts of it come and go."""
    megabytes = 64
    async with stand(kept, tmp_path, megabytes=megabytes) as gateway:
        assert (await gateway.ask(f"/api/conversations/{gateway.small}/export")).status_code == 200
        [worker] = gateway.process.workers()
        before = worker.memory_info().rss
        grown = 0
        with gateway.slow_reader() as reader:
            while reader.read(MEGABYTE) and not reader.whole:
                grown = max(grown, worker.memory_info().rss - before)
        assert reader.whole
        assert reader.bytes > megabytes * MEGABYTE
        assert grown < megabytes * MEGABYTE / 2, f"{grown / MEGABYTE:.0f} MB more"


async def test_a_client_that_takes_nothing_is_cut_off(kept: Settings, tmp_path: Path) -> None:
    """After a while; its place is free then, and what it has got is no whole reply."""
    limits = {"GATEWAY_STALL_SECONDS": "3", "GATEWAY_MAX_EXPORTS": "2"}
    async with stand(kept, tmp_path, limits) as gateway:
        with gateway.slow_reader() as reader:
            reader.read(1000)
            refused = await gateway.ask(gateway.path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert refused.headers["Content-Type"] == "application/problem+json"
            await wait_until(gateway.may_export, timeout_seconds=30)
            reader.read_all()
            assert not reader.whole
        assert '"reply_cut"' in gateway.process.log.read_text()


async def test_a_client_that_is_gone_leaves_its_place(kept: Settings, tmp_path: Path) -> None:
    """At once, however long one that is there may take."""
    limits = {"GATEWAY_STALL_SECONDS": "600", "GATEWAY_MAX_EXPORTS": "2"}
    async with stand(kept, tmp_path, limits) as gateway:
        with gateway.slow_reader() as reader:
            reader.read(1000)
            assert not await gateway.may_export()
        await wait_until(gateway.may_export)


async def test_a_slow_client_keeps_nobody_from_postgresql(kept: Settings, tmp_path: Path) -> None:
    """It holds no connection and no transaction: with a pool of one, others are served."""
    one = {"POSTGRES_POOL_MAX_SIZE": "1", "POSTGRES_POOL_MIN_SIZE": "0"}
    async with stand(kept, tmp_path, one) as gateway:
        with gateway.slow_reader() as reader:
            reader.read(1000)
            page = await gateway.ask(f"/api/conversations/{gateway.large}/messages?limit=1&after=0")
            assert page.status_code == 200
            assert await open_transactions(kept) == 0
            reader.read_all()
            assert reader.whole


async def open_transactions(settings: Settings) -> int:
    """How many transactions gateways have open."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'turnlog-gateway' AND state LIKE 'idle in transaction%'"
        )
    finally:
        await connection.close()


async def test_a_conversation_that_is_deleted_meanwhile_is_no_whole_file(
    kept: Settings, tmp_path: Path
) -> None:
    """The client sees the connection end before the reply does; the same in an export of all."""
    async with stand(kept, tmp_path) as gateway:
        with (
            gateway.slow_reader() as one,
            gateway.slow_reader("/api/export?format=jsonl") as all_of_them,
        ):
            one.read(MEGABYTE)
            all_of_them.read(MEGABYTE)
            await gateway.scene.parts.publisher.delete(ALICE, gateway.large, at_ms=NOW)
            for reader in (one, all_of_them):
                reader.read_all()
                assert reader.bytes > MEGABYTE
                assert not reader.whole
        assert (await gateway.ask("/api/export")).status_code == 200


async def test_what_is_appended_meanwhile_is_left_out(kept: Settings, tmp_path: Path) -> None:
    """An export ends where the conversation ended when it began."""
    async with stand(kept, tmp_path) as gateway:
        for text in ("in time", "just in time"):  # so that the last part has room for more
            await gateway.scene.append(gateway.large, text)
        with gateway.slow_reader() as reader:
            reader.read(MEGABYTE)
            await gateway.scene.append(gateway.large, "too late")
            reader.read_all()
            assert reader.whole
            assert b"just in time" in reader.last
            assert b"too late" not in reader.last
        assert '"too late"' in (await gateway.ask(gateway.path)).text

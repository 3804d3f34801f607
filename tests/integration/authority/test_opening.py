"""What a process opens for its session."""

from __future__ import annotations

from contextlib import AsyncExitStack

from common.authority.opening import open_switched
from common.inspection import inspection
from common.postgres.pool import connect
from common.settings import Settings
from tests.stage import stage
from tests.waiting import wait_until


async def test_slow_requests_do_not_keep_a_process_from_showing_itself(settings: Settings) -> None:
    """Silent for 30 s it would be forgotten, and go on using a log that has lost the say."""
    async with stage(settings) as scene, inspection(settings, scene.pool) as inspecting:
        functions = scene.redis.functions
        opening = open_switched(settings, scene.pool, scene.store, functions, inspecting, name="test")
        async with opening, AsyncExitStack() as slow:
            for _ in range(settings.postgres.pool_max_size):
                await slow.enter_async_context(scene.pool.acquire())
            watching = await connect(settings.postgres.dsn)
            slow.push_async_callback(watching.close)
            await watching.execute("UPDATE log_sessions SET seen_at = seen_at - interval '1 hour'")

            async def seen() -> bool:
                silent = "SELECT count(*) FROM log_sessions WHERE seen_at < now() - interval '1 minute'"
                return not await watching.fetchval(silent)

            await wait_until(seen, timeout_seconds=4, message="it shows itself")

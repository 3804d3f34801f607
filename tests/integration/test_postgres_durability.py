"""A PostgreSQL that may lose what it has committed."""

from __future__ import annotations

import structlog.testing

from common.postgres.durability import postgres_weaknesses
from common.settings import Settings
from tests.persisters import running_persister
from tests.record import pool_of
from tests.waiting import wait_until


async def test_each_weaker_setting_is_named_with_what_it_may_lose(settings: Settings) -> None:
    """The tests' own server is as weak as can be."""
    async with pool_of(settings) as pool:
        found = {weakness.name: weakness for weakness in await postgres_weaknesses(pool)}
    assert set(found) == {
        "postgres_fsync_off",
        "postgres_full_page_writes_off",
        "postgres_synchronous_commit_off",
    }
    assert "corrupt" in found["postgres_fsync_off"].consequence


async def test_a_persister_says_at_its_start_what_is_weaker(settings: Settings) -> None:
    """In its log, where an operator looks, with what may be lost."""
    with structlog.testing.capture_logs() as logs:
        async with running_persister(settings):

            async def is_ready() -> bool:
                return any(line["event"] == "persister_ready" for line in logs)

            await wait_until(is_ready)
    warned = {line["event"]: line["consequence"] for line in logs if line["log_level"] == "warning"}
    assert "corrupt" in warned["postgres_fsync_off"]

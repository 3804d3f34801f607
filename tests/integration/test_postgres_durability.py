"""A PostgreSQL that may lose what it has committed."""

from __future__ import annotations

from common.postgres.durability import postgres_weaknesses
from common.settings import Settings
from tests.record import pool_of


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

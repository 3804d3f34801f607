"""A process without a log starts only where no log is in use, and keeps the say with the record."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from common.authority.record_session import RecordSession
from common.domain.errors import UnsafeConfiguration
from common.domain.ids import new_conversation_id
from common.postgres.authority import AuthorityStore, Holder
from common.postgres.pool import Pool, open_pool
from common.redis.log import FRESH, Creation
from common.settings import Settings
from tests.redis_parts import ALICE, NOW, STATE
from tests.sessions import QUICK, process, term
from tests.waiting import wait_until


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with open_pool(settings.postgres, application_name="test") as pool:
        yield pool


def without_log(pool: Pool, given_up: list[UnsafeConfiguration] | None = None) -> RecordSession:
    notes = given_up if given_up is not None else []
    return RecordSession(AuthorityStore(pool), name="record gateway", give_up=notes.append, timing=QUICK)


async def test_on_a_new_database_the_record_has_the_say_at_once(pool: Pool) -> None:
    async with without_log(pool).open():
        assert (await term(pool)).holder is Holder.RECORD


async def test_it_does_not_start_beside_a_process_that_uses_a_log(settings: Settings, pool: Pool) -> None:
    """Its changes would pass that one's caches by."""
    async with process(settings, pool, name="gateway of host-1") as one:
        with pytest.raises(UnsafeConfiguration, match="gateway of host-1"):
            await without_log(pool).claim()
        await one.session.look()
        assert one.session.holder is Holder.LOG


async def test_it_does_not_start_while_the_log_holds_more_than_the_record(
    settings: Settings, pool: Pool
) -> None:
    async with process(settings, pool) as one:
        await one.log.create(ALICE, new_conversation_id(), Creation(FRESH, STATE), at_ms=NOW)
    with pytest.raises(UnsafeConfiguration, match="drain"):
        await without_log(pool).claim()


async def test_while_it_is_there_the_log_is_not_used(settings: Settings, pool: Pool) -> None:
    """And once it is gone, the log gets the say back with empty caches."""
    async with without_log(pool).open(), process(settings, pool) as one:
        for _ in range(3):
            await one.session.look()
        assert one.session.holder is Holder.RECORD
    async with process(settings, pool) as one:
        await one.sees(Holder.LOG)
        assert one.drops


async def test_found_unsafe_only_later_it_gives_up(settings: Settings, pool: Pool) -> None:
    """PostgreSQL was away when it started."""
    given_up: list[UnsafeConfiguration] = []
    async with without_log(pool, given_up).open():
        await pool.execute("DELETE FROM log_sessions")
        await pool.execute("UPDATE authority SET holder = 'log', term = term + 1")
        async with process(settings, pool):
            await wait_until(lambda: bool(given_up), message="it gives up")

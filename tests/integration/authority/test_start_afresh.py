"""When the log gets the say back, nothing that it cached before is used again."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from common.domain.errors import LogUnavailable
from common.inspection import inspection
from common.redis.runs import Runs
from common.settings import Settings
from tests.persisting import persist
from tests.redis_parts import ALICE
from tests.stage import Stage, stage


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(settings) as scene:
        yield scene


async def test_every_cache_is_dropped_though_the_run_was_inspected(scene: Stage) -> None:
    async with inspection(scene.settings, scene.pool) as inspecting:
        await inspecting.start_afresh("1")  # inspects this run for the first time
        conversation = await scene.conversation(2)
        await persist(scene)
        await scene.pool.execute('UPDATE messages SET payload = \'{"id":"changed here"}\'')
        await inspecting.start_afresh("2")
        read = await scene.parts.history.recent(ALICE, conversation, 2)
        assert all(b"changed here" in message for message in read)


async def test_what_is_pending_is_in_the_caches_again(scene: Stage) -> None:
    """A user's list is read with the headers of what is pending."""
    conversation = await scene.conversation(2)
    async with inspection(scene.settings, scene.pool) as inspecting:
        await inspecting.start_afresh("1")
    listed = await scene.parts.listing.after_cursor(ALICE, limit=10)
    assert conversation.encode() in listed.items[0]
    assert await scene.numbers(conversation) == [0, 1]


async def test_an_inspection_in_between_makes_it_begin_again(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new connection of another process finds the run not inspected, and stamps it: then what is still
    to be dropped would stay."""
    await scene.conversation(1)
    revoke = Runs.revoke

    async def revoked_and_inspected(runs: Runs, moment: str) -> bool:
        revoked = await revoke(runs, moment)
        async with inspection(scene.settings, scene.pool) as other:
            await other.admit(scene.redis.client.call_together)
        return revoked

    async with inspection(scene.settings, scene.pool) as inspecting:
        with monkeypatch.context() as patch:
            patch.setattr(Runs, "revoke", revoked_and_inspected)
            with pytest.raises(LogUnavailable):
                await inspecting.start_afresh("1")
        await inspecting.start_afresh("1")


async def test_one_who_is_late_for_a_return_drops_nothing_of_a_log_in_use(scene: Stage) -> None:
    """It was stopped before it began. A user's list that is read while headers of what is pending are gone
    would be without what was acknowledged, and stay so."""
    async with inspection(scene.settings, scene.pool) as inspecting:
        await inspecting.start_afresh("1")
        conversation = await scene.conversation(2)
        header = scene.redis.keys.conversation(ALICE, conversation).header
        await scene.redis.client.call("HSET", header, "witness", "1")
        await inspecting.start_afresh("1")
        assert await scene.redis.client.call("HEXISTS", header, "witness")

"""A gateway that misses, a builder that answers, and a gateway that no builder answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from common.assembly import LoggedConversations, assemble
from common.domain.errors import ConversationNotFound
from common.domain.ids import new_conversation_id
from common.domain.messages import numbered, parse_body
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.misses import MissAsker, MissQueue
from common.settings import Settings
from services.cache_builder.builder import CacheBuilder
from tests.persisting import persist
from tests.redis_parts import ALICE
from tests.stage import GatedStore, Stage, stage
from tests.waiting import wait_until


@dataclass(frozen=True)
class Gateway:
    """A gateway's parts, which ask a builder, and its own way to PostgreSQL."""

    parts: LoggedConversations
    store: GatedStore
    asker: MissAsker


@asynccontextmanager
async def gateway(scene: Stage, *, wait_seconds: float = 5.0) -> AsyncGenerator[Gateway]:
    """A gateway beside the builder whose parts `scene` has."""
    client = connect(scene.settings.redis)
    asker = MissAsker(client, scene.redis.keys, wait_seconds=wait_seconds)
    listening = asyncio.create_task(asker.listen())
    store = GatedStore(scene.pool)
    try:
        await wait_until(lambda: asker.listening)
        yield Gateway(assemble(scene.settings, Functions(client), store, asker=asker), store, asker)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await client.aclose()


@asynccontextmanager
async def builder(scene: Stage) -> AsyncGenerator[None]:
    """A running cache builder that has `scene`'s parts."""
    made = CacheBuilder(MissQueue(scene.redis.client, scene.redis.keys), scene.parts.loader, concurrency=4)
    blocking = connect(scene.settings.redis)
    partition = scene.redis.keys.partition(ALICE)
    serving = asyncio.create_task(made.serve(blocking, partition, "test", block_ms=50))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await blocking.aclose()


async def test_a_miss_is_loaded_by_the_builder(settings: Settings) -> None:
    """The gateway itself asks PostgreSQL nothing, and waits once for many readers."""
    async with stage(settings) as scene, builder(scene), gateway(scene) as asking:
        conversation = await scene.conversation(messages=3)
        await persist(scene)
        await scene.drop_caches()

        reads = (asking.parts.history.recent(ALICE, conversation, 20) for _ in range(50))
        answers = await asyncio.gather(*reads)

        assert all([numbered(m).sequence_number for m in answer] == [0, 1, 2] for answer in answers)
        assert (scene.store.loads, asking.store.loads) == (1, 0)


async def test_a_user_s_list_is_loaded_by_the_builder(settings: Settings) -> None:
    """A list is asked for like a conversation."""
    async with stage(settings) as scene, builder(scene), gateway(scene) as asking:
        conversation = await scene.conversation()
        await persist(scene)
        await scene.drop_caches()

        (row,) = (await asking.parts.listing.after_cursor(ALICE, limit=10)).items

        assert parse_body(row)["conversation_id"] == conversation
        assert (scene.store.list_loads, asking.store.list_loads) == (1, 0)


async def test_the_builder_says_that_there_is_nothing(settings: Settings) -> None:
    """So that the gateway need not look for itself."""
    async with stage(settings) as scene, builder(scene), gateway(scene) as asking:
        with pytest.raises(ConversationNotFound):
            await asking.parts.history.recent(ALICE, new_conversation_id(), 20)
        assert (scene.store.loads, asking.store.loads) == (1, 0)


async def test_without_a_builder_the_gateway_loads_for_itself(settings: Settings) -> None:
    """After the bound, once; while nobody answers it does not wait again."""
    async with stage(settings) as scene, gateway(scene, wait_seconds=0.05) as asking:
        conversations = [await scene.conversation(messages=2) for _ in range(5)]
        await persist(scene)
        await scene.drop_caches()

        for conversation in conversations:
            found = await asking.parts.history.recent(ALICE, conversation, 20)
            assert [numbered(m).sequence_number for m in found] == [0, 1]

        misses = scene.redis.keys.misses(scene.redis.keys.partition(ALICE))
        assert await scene.redis.client.call("XLEN", misses) == 1, "asked once, then it worked alone"
        assert asking.store.loads == 5


async def test_what_was_asked_before_the_builder_came_is_answered(settings: Settings) -> None:
    """Its consumer group begins at the first request, not at the next."""
    async with stage(settings) as scene, gateway(scene) as asking:
        conversation = await scene.conversation(messages=1)
        await persist(scene)
        await scene.drop_caches()
        reading = asyncio.create_task(asking.parts.history.recent(ALICE, conversation, 20))
        misses = scene.redis.keys.misses(scene.redis.keys.partition(ALICE))

        async def asked() -> bool:
            return await scene.redis.client.call("XLEN", misses) == 1

        await wait_until(asked)
        async with builder(scene):
            assert len(await reading) == 1
        assert asking.store.loads == 0


async def test_a_builder_that_loses_redis_goes_on(settings: Settings) -> None:
    """Its blocked read fails with the connection; the next one is on a new one."""
    async with stage(settings) as scene, builder(scene), gateway(scene) as asking:
        conversation = await scene.conversation(messages=1)
        await persist(scene)
        await scene.redis.everywhere("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await scene.drop_caches()
        assert len(await asking.parts.history.recent(ALICE, conversation, 20)) == 1


async def test_a_gateway_listens_again_whatever_its_connection_died_of(settings: Settings) -> None:
    """uvloop has an error of its own for a write to a connection that is reset at that moment.

    When a peer resets is not ours to say to the tick, so what uvloop raises is raised here.
    """

    class ResetOnce(MissAsker):
        failed = False

        async def _listen_once(self) -> None:
            if not self.failed:
                self.failed = True
                raise RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")
            await super()._listen_once()

    async with stage(settings) as scene:
        asker = ResetOnce(scene.redis.client, scene.redis.keys, wait_seconds=1.0)
        listening = asyncio.create_task(asker.listen())
        try:
            await wait_until(lambda: asker.listening or listening.done())
            assert asker.listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_what_nobody_waits_for_any_more_is_not_built(settings: Settings) -> None:
    """Its reader gave up while no builder was there; what is asked for now comes at once."""
    async with stage(settings) as scene, gateway(scene, wait_seconds=0.05) as impatient:
        given_up, wanted = await scene.conversation(messages=1), await scene.conversation(messages=1)
        await persist(scene)
        await scene.drop_caches()
        assert await impatient.parts.history.recent(ALICE, given_up, 20)
        await scene.drop_caches()
        async with gateway(scene, wait_seconds=10) as patient, builder(scene):
            assert await patient.parts.history.recent(ALICE, wanted, 20)
        assert scene.store.loads == 1

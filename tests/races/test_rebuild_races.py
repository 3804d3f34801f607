"""The races between a rebuild and the rest of the world, each made to happen by a gate.

The gate stands behind the read of PostgreSQL: the rebuilder has its answer and has not installed it yet,
which is the moment in which everything else can happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.domain.errors import ConversationNotFound
from common.domain.ids import ConversationId, new_conversation_id
from common.domain.messages import numbered
from common.domain.paging import Window
from common.postgres.store import Store
from common.redis.cache import Status
from common.settings import Settings
from tests.persisting import persist
from tests.redis_parts import ALICE, NOW, STATE
from tests.stage import Stage, second_process, stage


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Stage]:
    async with stage(settings) as made:
        yield made


async def test_an_append_during_a_rebuild_is_in_the_installed_list(scene: Stage) -> None:
    """Rebuild vs append: the append finds no list to push to, and PostgreSQL's answer is older than it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.after_load.shut()
    reading = asyncio.create_task(scene.numbers(conversation))
    await scene.store.after_load.reached.wait()

    await scene.append(conversation, "meanwhile")
    scene.store.after_load.passable.set()
    await reading

    assert await scene.numbers(conversation) == [0, 1, 2, 3]
    assert scene.store.loads == 1


async def test_an_append_that_is_committed_during_a_rebuild_is_in_the_installed_list(
    scene: Stage,
) -> None:
    """The append is in neither PostgreSQL's answer nor among the pending: only the journal has it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.after_load.shut()
    reading = asyncio.create_task(scene.numbers(conversation))
    await scene.store.after_load.reached.wait()

    await scene.append(conversation, "meanwhile")
    await persist(scene)
    scene.store.after_load.passable.set()
    await reading

    assert await scene.numbers(conversation) == [0, 1, 2, 3]
    assert scene.store.loads == 1, "a busy conversation is rebuilt at the first try"


async def test_a_rebuild_never_moves_a_list_backwards(scene: Stage) -> None:
    """A rebuilder that slept through a whole other rebuild, and an append after it, installs nothing."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    cache, store = scene.redis.cache, scene.store
    slow = await cache.load_begin(ALICE, conversation, lease_ms=1)
    loaded = await store.load(ALICE, conversation, 50)
    await asyncio.sleep(0.01)  # the lease runs out

    assert await scene.numbers(conversation) == [0, 1, 2]
    await scene.append(conversation, "newer")
    assert loaded is not None
    installed = await cache.load_install(ALICE, slow, loaded.header, [m.served for m in loaded.messages])

    assert not installed
    assert await scene.numbers(conversation) == [0, 1, 2, 3]


async def test_a_delete_during_a_rebuild_is_final(scene: Stage) -> None:
    """Rebuild vs delete: what was read before the delete is never installed after it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.after_load.shut()
    reading = asyncio.create_task(scene.numbers(conversation))
    await scene.store.after_load.reached.wait()

    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    scene.store.after_load.passable.set()

    with pytest.raises(ConversationNotFound):
        await reading
    assert await scene.redis.client.call("EXISTS", scene.redis.keys.messages(ALICE, conversation)) == 0
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)


async def test_what_is_pending_of_a_deleted_conversation_is_not_cached(scene: Stage) -> None:
    """PostgreSQL has the delete, and Redis came back without it: the appends before it are pending again."""
    conversation = await scene.conversation(3)
    entries = await scene.redis.client.call("XRANGE", _log_of(scene), "-", "+")
    await persist(scene)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    await persist(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.drop(keys.header)
    await scene.redis.client.call("RPUSH", keys.pending, *(position for position, _ in entries))

    await scene.parts.rebuilder.absent(ALICE, conversation)
    with pytest.raises(ConversationNotFound):
        await scene.numbers(conversation)


def _log_of(scene: Stage) -> str:
    return scene.redis.keys.events(scene.redis.keys.partition(ALICE))


@pytest.mark.parametrize("change", ["append", "rename"])
async def test_a_header_that_goes_during_a_rebuild_does_not_come_back_older(
    scene: Stage, change: str
) -> None:
    """Changed, committed and evicted while the rebuilder held what it had read: numbers would be given
    twice, a title would go back. A journal of appends cannot tell; that the header went does."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.drop(keys.messages)
    scene.store.after_load.shut()
    reading = asyncio.create_task(scene.numbers(conversation))
    await scene.store.after_load.reached.wait()

    if change == "append":
        await scene.append(conversation, "meanwhile")
    else:
        await scene.parts.publisher.update(ALICE, conversation, at_ms=NOW, title="New")
    await persist(scene)
    await scene.drop(keys.header)
    scene.store.after_load.passable.set()
    await reading
    await scene.append(conversation, "afterwards")
    await persist(scene)

    header = await scene.parts.history.header(ALICE, conversation)
    assert header.state.title == ("New" if change == "rename" else STATE.title)
    assert await scene.numbers(conversation) == list(range(header.message_count))
    assert header.message_count == (5 if change == "append" else 4)


async def test_two_builders_share_one_rebuild(scene: Stage) -> None:
    """Two processes find the same conversation cold: one reads PostgreSQL, the other waits for it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop_caches()
    scene.store.after_load.shut()
    async with second_process(scene) as other:
        first = asyncio.create_task(scene.parts.history.recent(ALICE, conversation, 50))
        await scene.store.after_load.reached.wait()
        second = asyncio.create_task(other.history.recent(ALICE, conversation, 50))
        await _until_building_is_seen(scene, conversation)

        scene.store.after_load.passable.set()

        assert await first == await second
    assert scene.store.loads == 1


async def test_only_the_builder_that_holds_the_token_installs(scene: Stage) -> None:
    """A lease that ran out was taken over: the first holder comes too late, and is told so."""
    conversation = await scene.conversation(messages=2)
    await persist(scene)
    await scene.drop_caches()
    cache = scene.redis.cache
    first = await cache.load_begin(ALICE, conversation, lease_ms=60_000)
    second = await cache.load_begin(ALICE, conversation, lease_ms=60_000)
    third = await cache.load_begin(ALICE, conversation, lease_ms=60_000, take_over=True)
    loaded = await scene.store.load(ALICE, conversation, 50)
    assert loaded is not None
    served = [m.served for m in loaded.messages]

    assert (first.status, second.status, third.status) == (
        Status.STARTED,
        Status.BUILDING,
        Status.STARTED,
    )
    assert not await cache.load_install(ALICE, first, loaded.header, served)
    assert await cache.load_install(ALICE, third, loaded.header, served)


async def test_two_hundred_readers_of_one_cold_conversation_cost_one_query(scene: Stage) -> None:
    """They all wait for the first one's rebuild."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop_caches()
    scene.store.after_load.shut()
    async with second_process(scene) as other:
        readers = [
            asyncio.create_task(history.recent(ALICE, conversation, 50))
            for history in (scene.parts.history, other.history)
            for _ in range(100)
        ]
        await scene.store.after_load.reached.wait()
        await _until_building_is_seen(scene, conversation)
        scene.store.after_load.passable.set()

        answers = await asyncio.gather(*readers)

    assert scene.store.loads == 1
    assert all([numbered(m).sequence_number for m in answer] == [0, 1, 2] for answer in answers)


async def test_a_reader_who_joins_a_rebuild_sees_its_own_last_append(scene: Stage) -> None:
    """The rebuild began before the append; the reader came after it."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.after_load.shut()
    first = asyncio.create_task(scene.numbers(conversation))
    await scene.store.after_load.reached.wait()
    await scene.append(conversation, "mine")
    mine = asyncio.create_task(scene.numbers(conversation))
    await asyncio.sleep(0)

    scene.store.after_load.passable.set()

    assert (await mine)[-1] == 3
    await first


async def test_a_reader_who_joins_a_failed_search_sees_the_conversation_created_since(
    settings: Settings,
) -> None:
    """The search began when there was nothing; the create was answered before this reader asked."""
    conversation = new_conversation_id()
    async with (
        stage(settings, lease_seconds=0.05) as scene,
        second_process(scene, Store(scene.pool)) as other,
    ):
        scene.store.after_load.shut()
        early = asyncio.create_task(scene.numbers(conversation))
        await scene.store.after_load.reached.wait()
        await other.publisher.create(ALICE, STATE, at_ms=NOW, conversation_id=conversation)
        late = asyncio.create_task(scene.numbers(conversation))
        await asyncio.sleep(0)

        scene.store.after_load.passable.set()

        with pytest.raises(ConversationNotFound):
            await early
        assert await late == []


async def test_expiry_between_check_and_push_cannot_make_a_part_look_whole(scene: Stage) -> None:
    """The list goes in the moment before the push: an absent list stays absent."""
    conversation = await scene.conversation(messages=3)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))

    await scene.append(conversation, "after the list was gone")

    assert await scene.redis.cache.tail(ALICE, conversation, 50) == []
    assert await scene.numbers(conversation) == [0, 1, 2, 3]


async def test_an_absent_sorted_set_is_not_an_empty_one(scene: Stage) -> None:
    """A conversation made while no list is cached must not become the whole list."""
    first = await scene.conversation()
    second = await scene.conversation()
    await persist(scene)
    await scene.drop_caches()

    third = await scene.conversation()

    listed = await scene.parts.listing.after_cursor(ALICE, limit=10)
    ids = [item.decode().split('"')[3] for item in listed.items]
    assert sorted(ids) == sorted([first, second, third])


async def test_no_conversations_yet_is_cached_and_undone_by_the_first_one(scene: Stage) -> None:
    """The empty list is a list: it is not asked for again, and a create is seen at once."""
    assert (await scene.parts.listing.after_cursor(ALICE, limit=10)).items == []
    assert (await scene.parts.listing.after_cursor(ALICE, limit=10)).items == []
    assert scene.store.list_loads == 1

    await scene.conversation()

    assert len((await scene.parts.listing.after_cursor(ALICE, limit=10)).items) == 1
    assert scene.store.list_loads == 1


async def test_a_conversation_made_during_a_rebuild_of_the_list_is_in_it(scene: Stage) -> None:
    """Rebuild of a user's list vs create, and vs delete of one it has read."""
    first = await scene.conversation()
    gone = await scene.conversation()
    await persist(scene)
    await scene.drop_caches()
    scene.store.after_conversations.shut()
    listing = asyncio.create_task(scene.parts.listing.after_cursor(ALICE, limit=10))
    await scene.store.after_conversations.reached.wait()
    second = await scene.conversation()
    await scene.parts.publisher.delete(ALICE, gone, at_ms=NOW)
    await persist(scene)
    scene.store.after_conversations.passable.set()

    for listed in (await listing, await scene.parts.listing.after_cursor(ALICE, limit=10)):
        ids = [item.decode().split('"')[3] for item in listed.items]
        assert sorted(ids) == sorted([first, second])


async def test_what_is_committed_between_two_reads_is_in_the_answer(settings: Settings) -> None:
    """Pending vs PostgreSQL: pending is read first, because what moves goes that way."""
    async with stage(settings, length=2) as small:
        conversation = await small.conversation(messages=6)
        small.store.after_window.shut()
        reading = asyncio.create_task(small.numbers(conversation, limit=6))
        await small.store.after_window.reached.wait()
        # PostgreSQL has answered: it has none of them. Now all of them move there.
        await persist(small)
        small.store.after_window.passable.set()

        assert await reading == [0, 1, 2, 3, 4, 5]


async def test_a_partial_list_is_not_taken_for_the_whole(settings: Settings) -> None:
    """The cached list is shorter than what is asked for, and does not begin at the beginning."""
    async with stage(settings, length=2) as small:
        conversation = await small.conversation(messages=5)
        assert len(await small.redis.cache.tail(ALICE, conversation, 50)) == 2

        assert await small.numbers(conversation, limit=50) == [0, 1, 2, 3, 4]


async def _until_building_is_seen(scene: Stage, conversation: ConversationId) -> None:
    """Give the others the time to find the token there; whoever read PostgreSQL too would be counted."""
    for _ in range(20):
        begun = await scene.redis.cache.load_begin(ALICE, conversation, lease_ms=1)
        assert begun.status is Status.BUILDING
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("way", ["window", "page", "recent"])
async def test_a_read_that_a_delete_overtakes_is_never_a_part(settings: Settings, way: str) -> None:
    """Read vs delete: the reader has seen what is pending, and comes to PostgreSQL when all the rest is gone.

    What it then has is a part that looks like the whole. Before the delete it is all, after it nothing.
    """
    async with stage(settings, length=2) as scene:
        conversation = await scene.conversation(messages=5)
        await persist(scene)
        for text in ("5", "6"):
            await scene.append(conversation, text)
        scene.store.before_window.shut()
        history = scene.parts.history
        reads = {
            "window": lambda: history.window(ALICE, conversation, Window(100, after=-1)),
            "page": lambda: history.page(ALICE, conversation, page=1, page_size=100),
            "recent": lambda: history.recent(ALICE, conversation, 100),
        }
        reading = asyncio.ensure_future(reads[way]())
        await scene.store.before_window.reached.wait()

        await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
        await persist(scene)
        scene.store.before_window.passable.set()

        with pytest.raises(ConversationNotFound):
            await reading

"""The races of edits, deletions and truncations of messages with all else, each made to happen by a gate."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from common.assembly import Conversations
from common.contract.stream import decode
from common.domain.errors import MessageNotFound, MessageRemoved, StoreUnavailable
from common.domain.events import MessagesAppended
from common.domain.ids import ConversationId, MessageId, Position
from common.ports import EditorPort
from common.postgres.changes import Recorded
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.redis.group import Committed
from common.settings import Settings
from tests.editing import named, says, told
from tests.persisting import go_cold, persist
from tests.redis_parts import ALICE, NOW, STATE
from tests.stage import Stage, second_process, stage
from tests.verifying import kinds, parts_of, verify

Change = Callable[[EditorPort, ConversationId], Awaitable[object]]


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Stage]:
    async with stage(settings) as made:
        yield made


async def _edit(editor: EditorPort, conversation: ConversationId) -> object:
    return await editor.edit(ALICE, conversation, MessageId("m1"), says("new"), at_ms=NOW)


async def _delete(editor: EditorPort, conversation: ConversationId) -> object:
    return await editor.delete(ALICE, conversation, MessageId("m1"), at_ms=NOW)


async def _truncate(editor: EditorPort, conversation: ConversationId) -> object:
    return await editor.truncate(ALICE, conversation, 0, at_ms=NOW)


CHANGES: Final[dict[str, Change]] = {"edit": _edit, "delete": _delete, "truncate": _truncate}
AFTER: Final[dict[str, dict[int, object]]] = {
    "edit": {0: "m0", 1: "new", 2: "m2"},
    "delete": {0: "m0", 2: "m2"},
    "truncate": {0: "m0"},
}
each_change = pytest.mark.parametrize("name", CHANGES)


async def _conversation(scene: Stage, count: int = 3) -> ConversationId:
    """A conversation with the messages m0, m1, …, on the log and nowhere else yet."""
    header, _ = await scene.parts.publisher.create(ALICE, STATE, at_ms=NOW)
    await scene.parts.publisher.append(ALICE, header.id, named(count), at_ms=NOW)
    return header.id


async def _recent(scene: Stage, conversation: ConversationId) -> dict[int, object]:
    return told(await scene.parts.history.recent(ALICE, conversation, 50))


async def _agrees(scene: Stage, conversation: ConversationId, expected: dict[int, object]) -> None:
    """Every way to read, hot and cold, and the counters and the preview that go with it."""
    history = scene.parts.history
    for cold in (False, True):
        if cold:
            await go_cold(scene)
        assert await _recent(scene, conversation) == expected
        page = await history.page(ALICE, conversation, page=1, page_size=50)
        assert (told(page.items), page.total) == (expected, len(expected))
        header = await history.header(ALICE, conversation)
        assert header.message_count == len(expected)
        assert header.preview == (list(expected.values())[-1] if expected else None)
        listed = await scene.parts.listing.after_cursor(ALICE, limit=10)
        assert b'"message_count":%d,' % len(expected) in listed.items[0]


@each_change
@pytest.mark.parametrize("where", ["hot", "cold", "pending, no list"])
async def test_a_change_is_seen_at_once(scene: Stage, name: str, where: str) -> None:
    """Read your writes, whatever is cached, and whether or not PostgreSQL has the messages."""
    conversation = await _conversation(scene)
    if where == "cold":
        await go_cold(scene)
    elif where == "pending, no list":
        await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    await CHANGES[name](scene.parts.editor, conversation)
    async with second_process(scene) as other:
        assert told(await other.history.recent(ALICE, conversation, 50)) == AFTER[name]
    await _agrees(scene, conversation, AFTER[name])


@each_change
async def test_a_change_during_a_rebuild_is_not_lost(scene: Stage, name: str) -> None:
    """Rebuild vs change: what was read before it is never installed after it."""
    conversation = await _conversation(scene)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.after_load.shut()
    reading = asyncio.create_task(scene.parts.history.recent(ALICE, conversation, 50))
    await scene.store.after_load.reached.wait()

    async with second_process(scene, Store(scene.pool)) as other:
        await CHANGES[name](other.editor, conversation)
    scene.store.after_load.passable.set()

    assert told(await reading) == AFTER[name]
    await _agrees(scene, conversation, AFTER[name])


@each_change
async def test_a_change_that_was_worked_out_before_an_append_is_worked_out_again(
    scene: Stage, name: str
) -> None:
    """Change vs append: the count and the preview are those after both, and a truncation takes it, too."""
    conversation = await _conversation(scene)
    await go_cold(scene)
    await scene.parts.history.header(ALICE, conversation)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.before_window.shut()
    changing = asyncio.ensure_future(CHANGES[name](scene.parts.editor, conversation))
    await scene.store.before_window.reached.wait()

    await scene.parts.publisher.append(ALICE, conversation, named(1, 3), at_ms=NOW)
    scene.store.before_window.passable.set()
    await changing

    expected = AFTER[name] if name == "truncate" else {**AFTER[name], 3: "m3"}
    await _agrees(scene, conversation, expected)


async def test_an_edit_of_a_message_that_is_truncated_meanwhile_finds_it_gone(scene: Stage) -> None:
    """Edit vs truncate: the edit comes after, and must not bring the message back."""
    conversation = await _conversation(scene)
    await go_cold(scene)
    await scene.parts.history.header(ALICE, conversation)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
    scene.store.before_window.shut()
    editing = asyncio.ensure_future(_edit(scene.parts.editor, conversation))
    await scene.store.before_window.reached.wait()

    async with second_process(scene, Store(scene.pool)) as other:
        await other.editor.truncate(ALICE, conversation, 0, at_ms=NOW)
    scene.store.before_window.passable.set()

    with pytest.raises(MessageNotFound):
        await editing
    await _agrees(scene, conversation, {0: "m0"})


@each_change
async def test_a_change_that_is_settled_before_the_append_holds(scene: Stage, name: str) -> None:
    """Two persisters: the slow one has the append, the other commits and settles what came after it.

    The append is pending still, and is nevertheless not what readers see; nor does it undo the change when
    it is committed at last.
    """
    conversation = await _conversation(scene)
    await CHANGES[name](scene.parts.editor, conversation)
    created, append, change = await _entries(scene)
    assert isinstance(append.event, MessagesAppended)
    for entry in (created, change):
        await _commit(scene, entry)
    await scene.drop(scene.redis.keys.messages(ALICE, conversation))

    assert await _recent(scene, conversation) == AFTER[name]
    keys = scene.redis.keys.messages(ALICE, conversation)
    await scene.drop(keys)
    header, shown = await scene.parts.rebuilder.uncached(ALICE, conversation)
    assert (told(shown), header.message_count) == (AFTER[name], len(AFTER[name]))
    page = await scene.parts.history.page(ALICE, conversation, page=1, page_size=2, descending=True)
    assert told(page.items[::-1]) == dict(list(AFTER[name].items())[-2:])

    await _commit(scene, append)
    await _agrees(scene, conversation, AFTER[name])


@each_change
async def test_events_that_come_again_undo_no_change(scene: Stage, name: str) -> None:
    """Redis comes back with an append pending that PostgreSQL has, and without the change that it has too."""
    conversation = await _conversation(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await CHANGES[name](scene.parts.editor, conversation)
    events = await _entries(scene)
    await go_cold(scene)
    await scene.redis.client.call("RPUSH", keys.pending, *(e.position for e in events[:2] if e.position))

    assert await _recent(scene, conversation) == AFTER[name]

    await scene.drop(keys.pending)
    await BatchWriter(scene.pool).write(events[1:2])
    await _agrees(scene, conversation, AFTER[name])


@pytest.mark.parametrize("cold", [False, True], ids=["hot", "cold"])
@pytest.mark.parametrize("name", ["delete", "truncate"])
async def test_an_append_that_comes_late_brings_nothing_back(scene: Stage, name: str, cold: bool) -> None:
    """All or none: what came with it is not there either."""
    conversation = await _conversation(scene)
    await CHANGES[name](scene.parts.editor, conversation)
    if cold:
        await go_cold(scene)
    batch = [*named(1, 7), *named(1, 1)]

    with pytest.raises(MessageRemoved) as refused:
        await scene.parts.publisher.append(ALICE, conversation, batch, at_ms=NOW)

    assert refused.value.message_ids == ["m1"]
    await _agrees(scene, conversation, AFTER[name])


@pytest.mark.parametrize("name", ["delete", "truncate"])
async def test_a_removal_of_what_redis_has_forgotten_holds_against_a_late_append(
    scene: Stage, name: str
) -> None:
    """The ids are in PostgreSQL only, and the removal is on the log only."""
    conversation = await _conversation(scene)
    await go_cold(scene)
    await CHANGES[name](scene.parts.editor, conversation)
    with pytest.raises(MessageRemoved):
        await scene.parts.publisher.append(ALICE, conversation, named(1, 1), at_ms=NOW)
    await _agrees(scene, conversation, AFTER[name])


@each_change
async def test_numbers_go_on_after_a_change(scene: Stage, name: str) -> None:
    """No number is given again, not even to who finds the conversation cold."""
    conversation = await _conversation(scene)
    await CHANGES[name](scene.parts.editor, conversation)
    await scene.parts.publisher.append(ALICE, conversation, named(1, 3), at_ms=NOW)
    await go_cold(scene)
    await scene.parts.publisher.append(ALICE, conversation, named(1, 4), at_ms=NOW)
    await _agrees(scene, conversation, {**AFTER[name], 3: "m3", 4: "m4"})


@each_change
async def test_while_postgresql_is_away_what_is_cached_can_be_changed(
    scene: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is not is answered 503; nothing comes of that."""
    conversation = await _conversation(scene)
    cold = await _conversation(scene)
    await persist(scene)
    await scene.drop(scene.redis.keys.messages(ALICE, cold))

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(scene.store, "read_beside", away)
        patched.setattr(scene.store, "load", away)
        await CHANGES[name](scene.parts.editor, conversation)
        assert await _recent(scene, conversation) == AFTER[name]
        with pytest.raises(StoreUnavailable):
            await CHANGES[name](scene.parts.editor, cold)
    await go_cold(scene)
    assert await _recent(scene, conversation) == AFTER[name]
    assert await _recent(scene, cold) == {0: "m0", 1: "m1", 2: "m2"}


@each_change
async def test_verify_finds_nothing_wrong_with_a_change(scene: Stage, name: str) -> None:
    """While it is pending, when it is settled before the append, and when all is settled."""
    conversation = await _conversation(scene)
    await CHANGES[name](scene.parts.editor, conversation)
    parts = parts_of(scene)
    assert kinds(await verify(parts)) == set()
    created, append, change = await _entries(scene)
    for entry in (created, change, append):
        await _commit(scene, entry)
        assert kinds(await verify(parts)) == set()


async def test_many_at_once_end_in_one_state(scene: Stage) -> None:
    """Appends, edits and removals by two processes: cache, header, lists and PostgreSQL agree."""
    conversation = await _conversation(scene, 6)
    chance, numbers = random.Random(7), itertools.count(6)
    async with second_process(scene) as other:

        async def client(parts: Conversations) -> None:
            for _ in range(12):
                target = MessageId(f"m{chance.randrange(6)}")
                with suppress(MessageNotFound):
                    match chance.randrange(5):
                        case 0:
                            revise = says(f"edit {next(numbers)}")
                            await parts.editor.edit(ALICE, conversation, target, revise, at_ms=NOW)
                        case 1:
                            await parts.editor.delete(ALICE, conversation, target, at_ms=NOW)
                        case 2:
                            await parts.editor.truncate(ALICE, conversation, chance.randrange(30), at_ms=NOW)
                        case _:
                            new = named(1, next(numbers))
                            await parts.publisher.append(ALICE, conversation, new, at_ms=NOW)
                if chance.random() < 0.3:
                    await scene.drop(scene.redis.keys.messages(ALICE, conversation))
                if chance.random() < 0.2:
                    await persist(scene)

        await asyncio.gather(*(client(parts) for parts in (other, scene.parts) * 3))
    await _agrees(scene, conversation, await _recent(scene, conversation))


async def _entries(scene: Stage) -> list[Recorded]:
    """All that stands on the log of Alice's partition."""
    partition = scene.redis.keys.partition(ALICE)
    entries = await scene.redis.client.call("XRANGE", scene.redis.keys.events(partition), "-", "+")
    return [
        Recorded(
            partition, Position(position.decode()), decode(dict(zip(flat[::2], flat[1::2], strict=True)))
        )
        for position, flat in entries
    ]


async def _commit(scene: Stage, entry: Recorded) -> None:
    """What a persister does with one entry."""
    group, partition = scene.redis.group, entry.partition
    await group.create(partition)
    await group.read_new(scene.redis.client, partition, "test", count=100, block_ms=1)
    await BatchWriter(scene.pool).write([entry])
    assert entry.position is not None
    settled = Committed(entry.position, entry.event.user_id, entry.event.conversation_id)
    await group.committed(partition, [settled])

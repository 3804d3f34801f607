"""Reads answer the same wherever the messages are: cached, pending, in PostgreSQL, partly in each, or in
PostgreSQL alone, without Redis."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from common.domain.conversations import State
from common.domain.cursors import make_cursor, parse_cursor
from common.domain.errors import ConversationNotFound, InvalidCursor
from common.domain.ids import ConversationId, new_conversation_id
from common.domain.messages import numbered, parse_body
from common.domain.paging import Window
from common.redis.functions import library_source
from common.redis.headers import HEADER_FIELDS
from common.settings import Settings
from tests.keeping import in_places, with_redis
from tests.persisting import go_cold, persist
from tests.redis_parts import ALICE, NOW, STATE
from tests.stage import Scene, Stage, scene_of, stage

in_every_place = in_places("hot", "pending", "partly pending", "cold")


@pytest.fixture
async def scene(kept: Settings) -> AsyncIterator[Scene]:
    async with scene_of(kept, length=4) as made:
        yield made


async def twelve_messages(scene: Scene, place: str) -> ConversationId:
    """A conversation of messages 0 to 11, kept in `place`; the cached list holds 4."""
    conversation = await scene.conversation(messages=7)
    if place == "partly pending":
        await persist(scene)
    for i in range(7, 12):
        await scene.append(conversation, str(i))
    if place in ("hot", "cold"):
        await persist(scene)
    if isinstance(scene, Stage) and place != "hot":
        await scene.drop(scene.redis.keys.messages(ALICE, conversation))
        await scene.drop_caches()
    return conversation


async def listed_by_cursor(scene: Scene, *, limit: int) -> list[str]:
    """The ids of all of Alice's conversations, in the order of the list."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        listed = await scene.parts.listing.after_cursor(ALICE, limit=limit, cursor=cursor)
        found += [parse_body(item)["conversation_id"] for item in listed.items]
        cursor = listed.next_cursor
        if cursor is None:
            return found


def numbers(items: list[bytes]) -> list[int]:
    return [numbered(item).sequence_number for item in items]


@in_every_place
@pytest.mark.parametrize("limit", [1, 3, 4, 5, 11, 12, 1000])
async def test_the_most_recent_messages_oldest_first(scene: Scene, place: str, limit: int) -> None:
    """However many are asked for, more than are cached too."""
    conversation = await twelve_messages(scene, place)
    found = await scene.parts.history.recent(ALICE, conversation, limit)
    assert numbers(found) == list(range(12))[-limit:]
    assert [parse_body(m)["content"] for m in found] == [str(i) for i in range(12)][-limit:]


@in_every_place
@pytest.mark.parametrize(
    ("after", "before", "limit", "expected"),
    [
        (None, 12, 3, [9, 10, 11]),
        (None, 10, 3, [7, 8, 9]),
        (None, 3, 10, [0, 1, 2]),
        (None, 0, 10, []),
        (8, None, 2, [9, 10]),
        (7, None, 10, [8, 9, 10, 11]),
        (2, None, 3, [3, 4, 5]),
        (11, None, 10, []),
        (3, 9, 100, [4, 5, 6, 7, 8]),
        (3, 9, 2, [4, 5]),
        (9, 3, 10, []),
        (None, 2**62, 1, [11]),
    ],
)
async def test_any_window_by_sequence_numbers(
    *, scene: Scene, place: str, after: int | None, before: int | None, limit: int, expected: list[int]
) -> None:
    """Both ends exclusive; with `after` the first of them, with `before` alone the last."""
    conversation = await twelve_messages(scene, place)
    found = await scene.parts.history.window(ALICE, conversation, Window(limit, after=after, before=before))
    assert numbers(found) == expected


@in_every_place
@pytest.mark.parametrize("descending", [False, True])
async def test_the_full_history_page_by_page(scene: Scene, place: str, descending: bool) -> None:
    """Every message once, and the total on each page."""
    conversation = await twelve_messages(scene, place)
    seen: list[int] = []
    for page in (1, 2, 3, 4):
        found = await scene.parts.history.page(
            ALICE, conversation, page=page, page_size=5, descending=descending
        )
        assert found.total == 12
        seen += numbers(found.items)
    assert seen == (list(range(12))[::-1] if descending else list(range(12)))


@with_redis
async def test_an_empty_conversation_reads_as_empty_without_postgresql(scene: Stage) -> None:
    """Its header says that there is nothing to load."""
    conversation = await scene.conversation()
    assert await scene.numbers(conversation) == []
    assert (await scene.parts.history.page(ALICE, conversation, page=1, page_size=5)).items == []
    assert scene.store.loads == 0


@in_every_place
@pytest.mark.parametrize("whole", [True, False])
async def test_conversations_by_cursor_and_by_page(kept: Settings, place: str, whole: bool) -> None:
    """Newest first, each once, whether the cached list is the whole or ends at its floor."""
    redis = kept.redis.model_copy(update={"list_max_conversations": 100 if whole else 3})
    async with scene_of(kept.model_copy(update={"redis": redis})) as scene:
        made: list[ConversationId] = []
        for i in range(11):
            if i == 6 and place == "partly pending":
                await persist(scene)
            # Three of a time, so that the order among equals is tried too.
            header, _ = await scene.parts.publisher.create(ALICE, STATE, at_ms=NOW + i // 3)
            made.append(header.id)
        await scene.parts.publisher.delete(ALICE, made.pop(4), at_ms=NOW)
        if place in ("hot", "cold"):
            await persist(scene)
        if place != "hot":
            await scene.drop_caches()

        by_cursor = await listed_by_cursor(scene, limit=2)
        by_page: list[str] = []
        for page in range(1, 6):
            found = await scene.parts.listing.page(ALICE, page=page, page_size=3)
            assert found.total == 10
            by_page += [parse_body(item)["conversation_id"] for item in found.items]

        assert sorted(by_cursor) == sorted(made)
        assert by_cursor == by_page


async def test_conversations_since_a_time(scene: Scene) -> None:
    """`days`: cached or not, by cursor or by page."""
    old = await scene.conversation()
    new, _ = await scene.parts.publisher.create(ALICE, STATE, at_ms=NOW + 1000)
    for _ in range(2):
        listed = await scene.parts.listing.after_cursor(ALICE, limit=10, since_ms=NOW + 1)
        assert [parse_body(item)["conversation_id"] for item in listed.items] == [new.id]
        paged = await scene.parts.listing.page(ALICE, page=1, page_size=10, since_ms=NOW + 1)
        assert (len(paged.items), paged.total) == (1, 1)
        assert (await scene.parts.listing.page(ALICE, page=1, page_size=10)).total == 2
        await go_cold(scene)
    assert old != new.id


async def test_old_conversations_that_come_late_do_not_hide_others(settings: Settings) -> None:
    """An import adds many at the far end of a list that is cached only so far down."""
    redis = settings.redis.model_copy(update={"list_max_conversations": 60})
    async with stage(settings.model_copy(update={"redis": redis})) as scene:
        create = scene.parts.publisher.create
        made = [(await create(ALICE, STATE, at_ms=NOW + i // 2))[0].id for i in range(80)]
        await go_cold(scene)
        await scene.parts.listing.after_cursor(ALICE, limit=1)
        for _ in range(5):
            await scene.parts.publisher.delete(ALICE, made.pop(), at_ms=NOW + 1000)
        key = scene.redis.keys.user(ALICE).conversations

        for at_ms, count in ((NOW - 100, 70), (NOW + 2000, 120)):
            made += [(await create(ALICE, STATE, at_ms=at_ms + i // 3))[0].id for i in range(count)]
            assert sorted(await listed_by_cursor(scene, limit=4)) == sorted(made)
            assert await scene.redis.client.call("ZRANK", key, "-") == 0, "nothing stands below the floor"
            assert await scene.redis.client.call("ZCARD", key) < 60 + 50 + 2, "and the list is cut"


@with_redis
async def test_a_cold_conversation_is_read_while_redis_has_no_room(scene: Stage) -> None:
    """It cannot be cached, but PostgreSQL has it; nor can the list of conversations."""
    conversation = await scene.conversation(messages=3)
    await go_cold(scene)
    await scene.redis.everywhere("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await scene.numbers(conversation) == [0, 1, 2]
        assert (await scene.parts.history.header(ALICE, conversation)).message_count == 3
        assert len((await scene.parts.listing.after_cursor(ALICE, limit=10)).items) == 1
        assert (await scene.parts.listing.page(ALICE, page=1, page_size=10)).total == 1
        with pytest.raises(ConversationNotFound):
            await scene.numbers(new_conversation_id())
    finally:
        await scene.redis.everywhere("CONFIG", "SET", "maxmemory", "0")


def test_a_row_is_the_same_whoever_wrote_it() -> None:
    """The functions and this program list the header's fields in one order."""
    fields = library_source().partition("local FIELDS = {")[2].partition("}")[0]
    assert tuple(re.findall(r"'(\w+)'", fields)) == HEADER_FIELDS


async def test_a_summary_is_the_same_whoever_wrote_it(scene: Scene) -> None:
    """A function's, at a change, and this program's, at a rebuild."""
    state = State('A "title" ☃', "m", b'{"a":[]}', STATE.created_at)
    header, _ = await scene.parts.publisher.create(ALICE, state, at_ms=NOW)
    before = await scene.parts.listing.after_cursor(ALICE, limit=10)
    await scene.append(header.id, "☃ \x01 text")
    changed = await scene.parts.listing.after_cursor(ALICE, limit=10)
    await go_cold(scene)
    rebuilt = await scene.parts.listing.after_cursor(ALICE, limit=10)
    assert rebuilt.items == changed.items != before.items


def test_a_cursor_comes_back_as_it_was_made() -> None:
    """And anything else is refused."""
    conversation = new_conversation_id()
    assert parse_cursor(make_cursor(NOW, conversation)) == (NOW, conversation)


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "MTIz", "LTEuYQ", "a" * 5000, "\udcff", "\uff11\uff12"])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """In one way, whatever is wrong with it."""
    with pytest.raises(InvalidCursor):
        parse_cursor(cursor)

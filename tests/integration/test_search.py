"""Full text search answers the same wherever messages are, and what is gone is not found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import from_json

from common.domain.errors import Overloaded
from common.domain.ids import UserId
from common.domain.messages import message_text, parse_body
from common.domain.search.hits import ALL_RECORDED, Hits, PendingMessage, Unrecorded
from common.domain.search.wanted import parse_wanted
from common.postgres.pool import Pool
from common.postgres.queries import statement
from common.postgres.search import index_some
from common.postgres.search_words import query_text, vector_text
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.searching import Search
from common.settings import Settings
from tests.keeping import in_places, with_redis
from tests.persisting import go_cold, persist
from tests.record import History, body, pool_of, recorded
from tests.redis_parts import ALICE, NOW, message
from tests.stage import Scene, Stage, scene_of

BOB = UserId("bob")
in_every_place = in_places("pending", "partly pending", "recorded", "cold")


@pytest.fixture
async def scene(kept: Settings) -> AsyncIterator[Scene]:
    async with scene_of(kept) as made:
        yield made


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def found(scene: Scene, query: str, user: UserId = ALICE) -> list[str]:
    """The texts of all hits, best first, followed page by page."""
    texts: list[str] = []
    cursor: str | None = None
    while True:
        hits = await scene.parts.search.find(user, parse_wanted(query), limit=2, cursor=cursor)
        texts += [message_text(parse_body(hit.body).get("content")) for hit in hits.items]
        cursor = hits.next_cursor
        if cursor is None:
            return texts


@in_every_place
async def test_messages_are_found_wherever_they_are(scene: Scene, place: str) -> None:
    """At once: what was acknowledged is found, recorded or not."""
    conversation = await scene.conversation()
    for i in range(6):
        if i == 3 and place == "partly pending":
            await persist(scene)
        await scene.append(conversation, f"the weather in Paris, day {i}")
    await scene.append(conversation, "nothing of it")
    if place == "recorded":
        await persist(scene)
    if place == "cold":
        await go_cold(scene)

    assert sorted(await found(scene, "paris WEATHER")) == [f"the weather in Paris, day {i}" for i in range(6)]
    assert await found(scene, "day 4 paris") == ["the weather in Paris, day 4"]
    assert await found(scene, "paris london") == []


@pytest.mark.parametrize("recorded_first", [False, True])
async def test_a_deleted_conversation_is_not_found(scene: Scene, recorded_first: bool) -> None:
    """From the moment the deletion was acknowledged; nor what comes late."""
    conversation = await scene.conversation()
    await scene.append(conversation, "gone with the wind")
    kept = await scene.conversation()
    await scene.append(kept, "wind stays")
    if recorded_first:
        await persist(scene)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    assert await found(scene, "wind") == ["wind stays"]
    await persist(scene)
    assert await found(scene, "wind") == ["wind stays"]


async def test_nobody_finds_anothers_messages(scene: Scene) -> None:
    """Whatever the words."""
    for user in (ALICE, BOB):
        await scene.append(await scene.conversation(user=user), f"secret of {user}", user)
    for _ in range(2):
        assert await found(scene, "secret") == [f"secret of {ALICE}"]
        assert await found(scene, "bob secret") == []
        assert await found(scene, "secret", BOB) == ["secret of bob"]
        await persist(scene)
        await persist(scene, BOB)


async def test_a_users_mark_alone_does_not_keep_users_apart(pool: Pool) -> None:
    """Two users may have one mark: the statement asks for the user, too."""
    history = History(BOB)
    history.created()
    history.appended("the secret")
    await BatchWriter(pool).write(recorded(history.events))
    await pool.execute("UPDATE messages SET search = $1::text::tsvector", vector_text(ALICE, "the secret"))
    assert (await Store(pool).search(ALICE, parse_wanted("secret"), limit=5)).items == []


def test_users_have_words_of_their_own() -> None:
    """The one index over all users' words has nobody else's under them; a user's mark stays for ever."""
    assert vector_text(ALICE, "secret") != vector_text(BOB, "secret")
    assert vector_text(BOB, "secret") == "'l4pzu362secret':1"


@with_redis
async def test_what_is_committed_between_the_two_looks_is_found(scene: Stage) -> None:
    """Pending is read first: the other way round it would be in neither."""
    await scene.append(await scene.conversation(), "wind")
    wanted = parse_wanted("wind")
    answer = scene.store.search

    async def gated(*args: Any, **kwargs: Any) -> Hits:
        hits = await answer(*args, **kwargs)
        if not committed:
            committed.append(True)
            await persist(scene)
        return hits

    committed: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.store, "search", gated)
        assert len((await scene.parts.search.find(ALICE, wanted, limit=5)).items) == 1


async def test_best_first(scene: Scene) -> None:
    """Words near each other, often, in a short text; of equal ones the newest."""
    conversation = await scene.conversation()
    for i, text in enumerate(
        [
            "red " + "and so on and so on and much else that nobody wants to read " * 4 + "bus",
            "a red one and then a bus",
            "red bus",
            "red bus, red bus",
            "a red one and then a bus",
        ]
    ):
        await scene.parts.publisher.append(ALICE, conversation, [message(text)], at_ms=NOW + i)
    texts = await found(scene, "red bus")
    assert [len(text) for text in texts] == [16, 7, 24, 24, 247]
    await persist(scene)
    assert await found(scene, "red bus") == texts


async def test_pages_do_not_repeat_or_leave_out_while_messages_come_in(scene: Scene) -> None:
    """Every message that was there at the first page comes once."""
    conversation = await scene.conversation()
    for i in range(9):
        await scene.append(conversation, f"bus {i}" + " filler" * (i % 4))
    if isinstance(scene, Stage):
        await persist(scene)
    wanted, seen, cursor = parse_wanted("bus"), list[str](), None
    for step in range(100):
        hits = await scene.parts.search.find(ALICE, wanted, limit=2, cursor=cursor)
        seen += [message_text(parse_body(hit.body)["content"]) for hit in hits.items]
        cursor = hits.next_cursor
        if cursor is None:
            break
        await scene.append(conversation, f"new bus {step}" + " filler" * step)
        if step == 1:
            await persist(scene)
    before = [text for text in seen if not text.startswith("new")]
    assert len(seen) == len(set(seen))
    assert sorted(before) == sorted(f"bus {i}" + " filler" * (i % 4) for i in range(9))


LANGUAGES: list[tuple[Any, str]] = [
    ("Crème brûlée", "creme"),
    ([{"type": "text", "text": "part one"}, {"type": "image", "url": "paris"}, "part two"], "one two"),
    ("我想去巴黎旅游", "巴黎"),
    ("我很好啊", "啊"),
    ("他们会想去伦敦吗", "想去伦敦"),
    ("東京タワー", "タワー"),
    ("서울에서", "서울"),
    ("สวัสดีครับ", "สวัสดี"),
    ("مَرْحَبًا بالعالم", "مرحبا"),
    ("🎉 party", "🎉"),
    ("foo_bar(baz)", "foo_bar"),
    ("iPhone手机", "iphone手机"),
    ("internationalisation", "internat*"),
    ("it's O'Brien\\n", "O'Brien"),
    ("1" * 3000, "1" * 400),
]
NOTHING_TO_FIND: list[Any] = [None, "", [], [{"type": "image", "url": "wind"}], "\\ ' \" : & | ! <-> *"]
SIGNS = ["a'b\\c", "'; DROP TABLE messages; --", "d & | ! e", "x:*", "℀ ㈠ ﷺ", '"', "a" * 500]


async def test_any_language(scene: Scene) -> None:
    """Found while pending and when recorded; the text alone, not what else a part has."""
    conversation = await scene.conversation()
    sent = [message(content) for content, _ in LANGUAGES]
    await scene.parts.publisher.append(ALICE, conversation, sent, at_ms=NOW)
    for _ in range(2):
        for content, query in LANGUAGES:
            assert await found(scene, query) == [message_text(content)]
        assert await found(scene, "url") == []
        await persist(scene)


async def test_any_content_can_be_stored(scene: Scene) -> None:
    """With nothing to find in it, or what PostgreSQL reads as its own signs."""
    conversation = await scene.conversation()
    sent = [message(content) for content in (*NOTHING_TO_FIND, *SIGNS, "﷽" * 3000, "wind")]
    await scene.parts.publisher.append(ALICE, conversation, sent, at_ms=NOW)
    for _ in range(2):
        assert await found(scene, "wind") == ["wind"]
        for text in SIGNS:
            if text.strip('"'):
                assert text in await found(scene, text)
        await persist(scene)


async def test_a_text_of_very_many_words_is_found_by_its_first(pool: Pool) -> None:
    """It must not be one that PostgreSQL cannot store."""
    history = History()
    history.created()
    history.appended("first " + " ".join(f"{i:06}{'ж' * 58}" for i in range(40_000)), "first " * 40_000)
    await BatchWriter(pool).write(recorded(history.events))
    store = Store(pool)
    assert len((await store.search(history.user, parse_wanted("first"), limit=5)).items) == 2
    assert (await store.search(history.user, parse_wanted('"039999*"'), limit=5)).items == []


async def test_what_was_edited_deleted_or_truncated(pool: Pool) -> None:
    """By its new text, or not at all, in whatever order the events come."""
    history = History()
    events = [
        history.created(),
        history.appended("old wind", "old wind", "old wind", "old wind"),
        history.edited(0, "new wind"),
        history.removed(1),
        history.truncated(1),
    ]
    store = Store(pool)
    for event in [*events, events[1], events[2]]:
        await BatchWriter(pool).write(recorded([event]))
    assert await texts(store, history, "wind") == ["new wind"]
    assert await texts(store, history, "old") == []


async def texts(store: Store, history: History, query: str, over: Unrecorded = ALL_RECORDED) -> list[str]:
    """The texts that `query` finds with what is pending laid `over` the record."""
    hits = await store.search(history.user, parse_wanted(query), over, limit=20)
    return sorted(message_text(parse_body(hit.body)["content"]) for hit in hits.items)


def pending(history: History, number: int, text: str, version: int) -> PendingMessage:
    return PendingMessage(history.conversation, number, body(f"m{number}", text), version)


async def test_what_is_pending_lies_over_the_record(pool: Pool) -> None:
    """An edit, a deletion, a deleted conversation; each before the record knows of it."""
    history, other = History(), History()
    for each in (history, other):
        each.created()
        each.appended("old wind", "old sea")
        await BatchWriter(pool).write(recorded(each.events))
    store, here = Store(pool), history.conversation

    edited = Unrecorded(messages=[pending(history, 0, "new wind", 9)], deleted=[other.conversation])
    assert await texts(store, history, "wind", edited) == ["new wind"]
    assert await texts(store, history, "old", edited) == ["old sea"]
    gone = Unrecorded(hidden=[(here, 0)], deleted=[other.conversation])
    assert await texts(store, history, "old", gone) == ["old sea"]


async def test_what_the_record_knows_better_is_not_shown_as_it_was_pending(pool: Pool) -> None:
    """All of this was committed between the look at Redis and the look at PostgreSQL: an edit, a deletion, a
    truncation that overtook what it cuts off, the removal of a message that had moved, and of all."""
    history, deleted = History(), History()
    begun = (history.created(), history.appended("zero wind", "one wind"), history.appended("two wind"))
    first, late = begun[:2], begun[2]
    after = (history.edited(0, "zero sea"), history.removed(1), history.truncated(1))
    gone = (deleted.created(), deleted.appended("wind"), deleted.deleted())
    await BatchWriter(pool).write(recorded([*first, *after, *gone]))
    here = history.conversation
    await pool.execute("INSERT INTO removed_messages VALUES ($1, $2, 'm9', 12)", history.user, here)
    looked = Unrecorded(
        messages=[
            *(pending(history, number, f"{number} wind", late.version) for number in (0, 1, 2, 9)),
            pending(deleted, 0, "wind", 2),
        ]
    )
    assert await texts(Store(pool), history, "wind", looked) == []
    assert await texts(Store(pool), history, "sea", looked) == ["zero sea"]


@with_redis
async def test_too_much_that_is_pending_is_an_honest_no(scene: Stage) -> None:
    """Not an answer with less than was acknowledged."""
    for _ in range(3):
        await scene.append(await scene.conversation(), "wind")
    search = Search(scene.redis.cache, scene.store, max_pending=2)
    with pytest.raises(Overloaded):
        await search.find(ALICE, parse_wanted("wind"), limit=5)
    await persist(scene)
    assert len((await search.find(ALICE, parse_wanted("wind"), limit=5)).items) == 3


async def test_messages_of_an_earlier_version_are_indexed_later(scene: Scene) -> None:
    """It wrote no words. A step at a time; who has one locked keeps nobody waiting."""
    conversation = await scene.conversation()
    for i in range(5):
        await scene.append(conversation, f"wind {i}")
    await persist(scene)
    await scene.pool.execute("UPDATE messages SET search = NULL")
    assert await found(scene, "wind") == []
    async with scene.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM messages WHERE sequence_number = 0 FOR UPDATE")
        assert await index_some(scene.pool, 3) == 3
        assert await index_some(scene.pool, 3) == 1
    assert await index_some(scene.pool, 3) == 1
    assert await index_some(scene.pool, 3) == 0
    assert len(await found(scene, "wind")) == 5


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
async def test_a_search_follows_an_index(pool: Pool, generic: bool) -> None:
    """Whether the planner sees the values or not: that of words for who has many messages, that of the user's
    messages for who has few, and never a table read through, however many others have the word."""
    await _many_messages(pool)
    async with pool.acquire() as connection:
        mode = "force_generic_plan" if generic else "force_custom_plan"
        await connection.execute(f"SET plan_cache_mode = {mode}")
        for user, query in (("user-0", "rare weather"), ("user-1", "rare weather"), ("user-1", "weather")):
            nodes = await _plan(connection, UserId(user), query)
            assert _read_through(nodes) == [], (user, query)
            if user == "user-0":
                assert "messages_search" in [node.get("Index Name") for node in nodes]


def _read_through(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]


async def _plan(connection: Any, user: UserId, query: str) -> list[dict[str, Any]]:
    empty: list[list[Any]] = [[] for _ in range(9)]
    arguments = (user, query_text(user, parse_wanted(query)), *empty, None, None, None, None, 5000, 21)
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement('search_messages')}", *arguments)
    return list(_nodes(from_json(plan)[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


async def _many_messages(pool: Pool) -> None:
    """Half of 40,000 messages are of one user, and `weather` is in every one."""
    marks = {f"user-{i}": vector_text(UserId(f"user-{i}"), "x")[1:9] for i in range(50)}
    await pool.execute("INSERT INTO users SELECT unnest($1::text[])", list(marks))
    await pool.execute(
        "INSERT INTO conversations (user_id, id, metadata, created_at, created_at_text, last_modified_ms,"
        " next_sequence_number, version, state_version, epoch)"
        " SELECT user_id, md5(user_id || i)::uuid, '{}', now(), '', 0, 0, 1, 1, 1"
        " FROM users, generate_series(1, 100) AS i"
    )
    for other, columns in (
        ("tombstones", "version, from_sequence, to_sequence"),
        ("removed_messages", "id, sequence_number"),
    ):
        values = "1, 1, 1" if other == "tombstones" else "'gone', 1"
        await pool.execute(
            f"INSERT INTO {other} (user_id, conversation_id, {columns})"
            f" SELECT user_id, id, {values} FROM conversations"
        )
    await pool.execute(
        "INSERT INTO messages (user_id, conversation_id, sequence_number, id, created_at, payload, version,"
        " search)"
        " SELECT u, md5(u || '1')::uuid, i, i, now(), '{}', 1,"
        " array_to_tsvector(ARRAY[mark || 'weather', mark || 'n' || i % 97]"
        "   || CASE WHEN i % 1000 = 0 THEN ARRAY[mark || 'rare'] ELSE '{}' END)"
        " FROM unnest($1::text[], $2::text[]) AS m (u, mark),"
        " LATERAL generate_series(1, CASE WHEN u = 'user-0' THEN 20000 ELSE 400 END) AS i",
        list(marks),
        list(marks.values()),
    )
    await pool.execute("ANALYZE")


async def test_the_index_needs_no_extension(pool: Pool) -> None:
    """On managed servers an extension has to be allowed by somebody first."""
    names = await pool.fetch("SELECT extname FROM pg_extension")
    assert [row["extname"] for row in names] == ["plpgsql"]

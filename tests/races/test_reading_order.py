"""Pending before PostgreSQL: what moves from one to the other while it is looked for is found all the same.

Every read that combines the two is held up when PostgreSQL has answered, and everything that was pending
is committed before the reader goes on: what it asks then, it asks too late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from common.domain.messages import numbered
from common.rebuild import ATTEMPTS
from common.settings import Settings
from tests.persisting import persist
from tests.redis_parts import ALICE
from tests.stage import Stage, stage

Read = Callable[[Stage, Any], Awaitable[list[int]]]


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Stage]:
    """Caches that hold two messages and no conversation but the newest, so that PostgreSQL is asked."""
    redis = settings.redis.model_copy(update={"list_max_conversations": 1})
    async with stage(settings.model_copy(update={"redis": redis}), length=2) as made:
        yield made


def afterwards(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, then: Callable[[], Awaitable[object]]
) -> list[object]:
    """Do `then` whenever `owner.name` has its answer and its caller has not; the answers so far."""
    original = getattr(owner, name)
    answers: list[object] = []

    async def held_up(*args: Any, **kwargs: Any) -> Any:
        answer = await original(*args, **kwargs)
        answers.append(answer)
        await then()
        return answer

    monkeypatch.setattr(owner, name, held_up)
    return answers


async def _page(scene: Stage, conversation: Any) -> list[int]:
    page = await scene.parts.history.page(ALICE, conversation, page=1, page_size=100)
    return [numbered(message).sequence_number for message in page.items]


async def _by_number(scene: Stage, conversation: Any) -> list[int]:
    return list(await scene.parts.history.by_number(ALICE, conversation, range(6)))


async def _uncached(scene: Stage, conversation: Any) -> list[int]:
    _, messages = await scene.parts.rebuilder.uncached(ALICE, conversation)
    return [4 + i for i, _ in enumerate(messages)] if len(messages) == 2 else [len(messages)]


@pytest.mark.parametrize(
    ("asked", "read", "expected"),
    [
        ("read_beside", _page, [0, 1, 2, 3, 4, 5]),
        ("read_beside", _by_number, [0, 1, 2, 3, 4, 5]),
        ("load", _uncached, [4, 5]),
    ],
    ids=["page", "by_number", "uncached"],
)
async def test_messages_that_are_committed_meanwhile_are_read(
    scene: Stage, monkeypatch: pytest.MonkeyPatch, asked: str, read: Read, expected: list[int]
) -> None:
    """A page of a conversation with a gap, single messages, and a read past the cache."""
    conversation = await scene.conversation(messages=6)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    if read is _page:
        # As if a message had been there that is gone: pages then count in PostgreSQL.
        await scene.redis.client.call("HSET", keys.header, "next", 7)
    if read is _uncached:
        await scene.drop(keys.messages)
    answers = afterwards(monkeypatch, scene.store, asked, lambda: persist(scene))

    assert await read(scene, conversation) == expected
    assert len(answers) == 1


async def test_conversations_that_are_committed_meanwhile_are_listed(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By cursor and by page, where the cached list does not go far enough."""
    listing = scene.parts.listing
    assert (await listing.after_cursor(ALICE, limit=1)).items == []  # a cached list, to be cut by what comes
    answers = afterwards(monkeypatch, scene.store, "conversations", lambda: persist(scene))

    made = [await scene.conversation() for _ in range(60)]
    by_cursor = await listing.after_cursor(ALICE, limit=100)
    assert (len(by_cursor.items), len(answers)) == (len(made), 1)

    made += [await scene.conversation() for _ in range(60)]
    by_page = await listing.page(ALICE, page=1, page_size=500)
    assert (len(by_page.items), by_page.total, len(answers)) == (len(made), len(made), 2)


async def test_a_rebuild_that_is_overtaken_each_time_is_given_up_and_served_uncached(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token goes whenever PostgreSQL has answered: after a few attempts the reader gets what is there."""
    conversation = await scene.conversation(messages=3)
    await persist(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    await scene.drop(keys.messages)

    async def overtake() -> None:
        assert len(answers) <= ATTEMPTS + 1, "it goes on for ever"
        await scene.drop(keys.rebuild)

    answers = afterwards(monkeypatch, scene.store, "load", overtake)

    assert await scene.numbers(conversation, limit=2) == [1, 2]
    assert len(answers) == ATTEMPTS + 1

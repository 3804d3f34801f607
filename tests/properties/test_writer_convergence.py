"""Whatever happens to events on their way, PostgreSQL ends with the rows of a history applied in order."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import ConversationId, UserId
from common.domain.overlay import in_order, overlay, overlay_header, pending_messages
from common.postgres.changes import Recorded
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.record import History, logged, pool_of, recorded, rows_of

WRITERS = 3
CONTENTS = st.sampled_from(["one", "two", "", None, ["a part", {"type": "image"}], "a longer text"])
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(CONTENTS, min_size=1, max_size=3)),
    st.tuples(st.just("update"), st.sampled_from(["A", "B", None])),
    st.tuples(st.just("edit"), st.tuples(st.integers(0, 2), CONTENTS)),
    st.tuples(st.just("edit"), st.tuples(st.integers(0, 2), CONTENTS)),
    st.tuples(st.just("remove"), st.integers(0, 6)),
    st.tuples(st.just("truncate"), st.integers(-1, 6)),
    st.tuples(st.just("log"), st.integers(0, 3)),
)
HISTORIES = st.lists(st.tuples(st.lists(STEPS, max_size=8), st.booleans()), min_size=1, max_size=3)
Events = list[ConversationEvent | QueryLogged]
fresh_users = (UserId(f"user-{n}") for n in itertools.count())


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=HISTORIES, randomness=st.randoms(use_true_random=False))
async def test_any_delivery_ends_in_the_same_rows(
    pool: Pool, steps: list[tuple[list[Any], bool]], randomness: random.Random
) -> None:
    """Shuffled, repeated, cut into batches, and written by several at once: as if in order, once."""
    calm, wild = next(fresh_users), next(fresh_users)
    conversations = [ConversationId(f"00000000-0000-0000-0000-00000000000{i}") for i in range(len(steps))]
    history = [play(calm, *args) for args in zip(conversations, steps, strict=True)]
    events = recorded(event for one in history for event in one)
    for item in events:
        await BatchWriter(pool).write([item])
    expected = await rows_of(pool, calm)
    await _compare_with_domain(pool, calm, history)

    theirs = [Recorded(r.partition, r.position, _of(r.event, wild)) for r in events]
    deliveries = theirs + randomness.choices(theirs, k=len(theirs) // 2) if theirs else []
    randomness.shuffle(deliveries)
    queue = _batches(deliveries, randomness)

    async def writer() -> None:
        while queue:
            await BatchWriter(pool).write(queue.pop())

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    assert await rows_of(pool, wild) == expected


async def _compare_with_domain(pool: Pool, user: UserId, histories: list[Events]) -> None:
    """PostgreSQL and the rule by which readers lay pending events over it come to the same."""
    for history in histories:
        events = [event for event in history if not isinstance(event, QueryLogged)]
        if not events:
            continue
        loaded = await Store(pool).load(user, events[0].conversation_id, 100)
        header = overlay_header(None, events)
        assert loaded is not None
        assert header is not None
        stored = loaded.header
        if stored.deleted:
            assert header.deleted
            continue
        assert loaded.messages == overlay([], pending_messages(in_order(events)))
        assert (stored.state, stored.version, stored.epoch) == (header.state, header.version, header.epoch)
        assert stored.next_sequence_number == header.next_sequence_number
        assert stored.last_modified_ms == header.last_modified_ms
        assert stored.message_count == len(loaded.messages)


def play(user: UserId, conversation: ConversationId, plan: tuple[list[Any], bool]) -> Events:
    """The events of one conversation that lives as `plan` says."""
    steps, delete = plan
    history = History(user, conversation)
    history.created()
    logs: Events = []
    history.appended("one", "two", "three")
    alive = {0, 1, 2}
    for step, argument in steps:
        match step:
            case "append":
                first = history.next_number
                history.appended(*argument)
                alive |= set(range(first, history.next_number))
            case "update":
                history.updated(argument)
            case "edit" if argument[0] in alive:
                history.edited(*argument)
            case "remove" if argument in alive:
                history.removed(argument)
                alive.discard(argument)
            case "truncate" if argument < history.next_number:
                history.truncated(argument)
                alive = {number for number in alive if number <= argument}
            case "log":
                logs.append(logged(f"{conversation}-{argument}", user))
            case _:
                pass
    if delete:
        history.deleted()
    return [*history.events, *logs]


def _of(event: Any, user: UserId) -> Any:
    return event.model_copy(update={"user_id": user})


def _batches(deliveries: list[Recorded], randomness: random.Random) -> list[list[Recorded]]:
    batches: list[list[Recorded]] = []
    while deliveries:
        size = randomness.randint(1, 6)
        batches.append(deliveries[:size])
        deliveries = deliveries[size:]
    return batches

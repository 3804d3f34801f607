"""The record told again as events ends in the same rows, whatever its history was."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import ConversationId, UserId
from common.postgres.pool import Pool
from common.postgres.retelling import Retelling, Wanted
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.properties.test_writer_convergence import HISTORIES, Events, play
from tests.record import pool_of, recorded, rows_of

fresh_users = (UserId(f"teller-{n}") for n in itertools.count())


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(steps=[([("edit", (0, "two")), ("remove", 1)], False)], lost=set())
@example(steps=[([("truncate", 2)], False)], lost=set())  # takes nothing away: only a counter tells of it
@given(steps=HISTORIES, lost=st.sets(st.integers(0, 12)))
async def test_rows_told_as_events_are_the_same_rows(
    pool: Pool, steps: list[tuple[list[Any], bool]], lost: set[int]
) -> None:
    """Also of a record that lacks some of the events: parked ones, or those of a creation."""
    one, other = next(fresh_users), next(fresh_users)
    conversations = [ConversationId(f"00000000-0000-0000-0000-00000000000{i}") for i in range(len(steps))]
    history: Events = [e for pair in zip(conversations, steps, strict=True) for e in play(one, *pair)]
    await BatchWriter(pool).write(recorded(e for i, e in enumerate(history) if i not in lost))

    told: list[ConversationEvent | QueryLogged] = []
    retelling = Retelling(pool, Wanted(user=one))
    for row in await retelling.conversations(None):
        async for events in retelling.events(row):
            told += events
    told += await retelling.query_logs(None)
    theirs = [event.model_copy(update={"user_id": other}) for event in told]
    for start in range(0, len(theirs), 3):
        await BatchWriter(pool).write(recorded(theirs[start : start + 3]))

    assert await rows_of(pool, other) == await rows_of(pool, one)

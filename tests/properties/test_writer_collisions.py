"""Two histories that parted, because Redis lost its tail and went on: both are kept, whatever the order."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from common.domain.events import MessageDeleted, MessageEdited, MessagesAppended
from common.domain.ids import ConversationId, MessageId, UserId
from common.postgres.changes import Collision
from common.postgres.pool import Pool
from common.postgres.writer import BatchWriter
from common.settings import Settings
from tests.record import History, body, pool_of, recorded, rows_of

WRITERS = 3
TRUNK = 2
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("edit"), st.integers(0, 4)),
        st.tuples(st.just("remove"), st.integers(0, 4)),
    ),
    min_size=1,
    max_size=5,
)
fresh_users = (UserId(f"user-{n}") for n in itertools.count())
CONVERSATION = ConversationId("00000000-0000-0000-0000-000000000001")


@pytest_asyncio.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


@dataclass
class Branch:
    """One way in which a history went on; its messages have the branch's name in their ids."""

    name: str
    history: History

    def append(self, count: int) -> None:
        """Add messages, numbered as this branch sees it."""
        contents = [f"{self.name}" for _ in range(count)]
        first = self.history.next_number
        event: MessagesAppended = self.history.appended(*contents)
        bodies = tuple(body(f"{self.name}{first + i}", text) for i, text in enumerate(contents))
        self._replace_last(event.model_copy(update={"bodies": bodies}))

    def edit(self, number: int) -> None:
        """Edit one of its own messages."""
        event: MessageEdited = self.history.edited(number, "edited")
        name = MessageId(f"{self.name}{number}")
        self._replace_last(event.model_copy(update={"message_id": name, "body": body(name, "edited")}))

    def remove(self, number: int) -> None:
        """Remove one of its own messages."""
        event: MessageDeleted = self.history.removed(number)
        self._replace_last(event.model_copy(update={"message_id": MessageId(f"{self.name}{number}")}))

    def _replace_last(self, event: Any) -> None:
        self.history.events[-1] = event


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lost=STEPS, after=STEPS, randomness=st.randoms(use_true_random=False))
async def test_no_message_of_either_is_lost_and_no_number_given_twice(
    pool: Pool, lost: list[Any], after: list[Any], randomness: random.Random
) -> None:
    """Shuffled, repeated, cut, by several writers: each message is there once, the deleted ones are not.

    Which of two that had one number keeps it is decided by who comes first; from then on nothing that is
    delivered again changes anything.
    """
    trunk = History(next(fresh_users), CONVERSATION)
    trunk.created()
    trunk.appended(*(["trunk"] * TRUNK))
    expected = {f"m{n}": "trunk" for n in range(TRUNK)}
    events = list(trunk.events)
    for name, steps in (("lost", lost), ("after", after)):
        branch = Branch(name, replace(trunk, events=[]))
        expected |= _play(branch, steps)
        events += branch.history.events
    await BatchWriter(pool).write(recorded(trunk.events))
    deliveries = recorded(events)
    deliveries += randomness.choices(deliveries, k=len(deliveries) // 2)
    randomness.shuffle(deliveries)
    queue = [deliveries[i : i + 3] for i in range(0, len(deliveries), 3)]

    async def writer() -> None:
        while queue:
            await BatchWriter(pool).write(queue.pop())

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    rows = await rows_of(pool, trunk.user)
    assert {row["id"]: from_json(row["payload"])["content"] for row in rows["messages"]} == expected
    numbers = {row["id"]: row["sequence_number"] for row in rows["messages"]}
    assert all(numbers[f"m{n}"] == n for n in range(TRUNK))
    assert len(set(numbers.values())) == len(numbers)
    [conversation] = rows["conversations"]
    assert conversation["message_count"] == len(numbers)
    assert conversation["next_sequence_number"] > max(numbers.values())

    randomness.shuffle(deliveries)
    for item in deliveries:
        await BatchWriter(pool).write([item])
    assert await rows_of(pool, trunk.user) == rows


async def test_what_comes_second_gets_a_number_and_is_known_by_its_id(pool: Pool) -> None:
    """Its numbers are another's by now: it gets the next ones, and an edit and a removal find it there."""
    trunk = History(next(fresh_users), CONVERSATION)
    trunk.created()
    trunk.appended(*(["trunk"] * TRUNK))
    lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
    after.append(2)
    lost.append(2)
    lost.edit(2)
    lost.remove(3)
    for batch in (trunk.events, after.history.events, *([event] for event in lost.history.events)):
        await BatchWriter(pool).write(recorded(batch))
    rows = (await rows_of(pool, trunk.user))["messages"]
    assert [(row["sequence_number"], row["id"], from_json(row["payload"])["content"]) for row in rows] == [
        (0, "m0", "trunk"),
        (1, "m1", "trunk"),
        (2, "after2", "after"),
        (3, "after3", "after"),
        (4, "lost2", "edited"),
    ]


async def test_a_removal_that_comes_first_holds_where_two_had_the_number(pool: Pool) -> None:
    """Both appends are in one batch after it: the removed one loses its number, and needs no other."""
    trunk = History(next(fresh_users), CONVERSATION)
    trunk.created()
    trunk.appended(*(["trunk"] * TRUNK))
    lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
    _play(lost, [("append", 1), ("remove", 0)])
    _play(after, [("append", 1)])
    append, remove = lost.history.events
    for batch in (trunk.events, [remove], [*after.history.events, append]):
        await BatchWriter(pool).write(recorded(batch))
    rows = await rows_of(pool, trunk.user)
    assert {row["id"] for row in rows["messages"]} == {"m0", "m1", "after2"}


def _play(branch: Branch, steps: list[Any]) -> dict[str, str]:
    """What is left of a branch that goes as `steps` say: id → content."""
    alive: dict[int, str] = {}
    for step, argument in steps:
        number = TRUNK + argument
        match step:
            case "append":
                first = branch.history.next_number
                branch.append(argument)
                alive |= dict.fromkeys(range(first, branch.history.next_number), branch.name)
            case "edit" if number in alive:
                branch.edit(number)
                alive[number] = "edited"
            case "remove" if number in alive:
                branch.remove(number)
                del alive[number]
            case _:
                pass
    return {f"{branch.name}{number}": content for number, content in alive.items()}


async def test_the_numbers_of_a_batch_that_lost_are_given_in_its_order(pool: Pool) -> None:
    """At the end of the conversation, whether the two meet in PostgreSQL or in one batch."""
    for together in (False, True):
        trunk = History(next(fresh_users), CONVERSATION)
        lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
        lost.append(2)
        after.append(3)
        events = recorded([*lost.history.events, *after.history.events])
        moved = [await BatchWriter(pool).write(b) for b in ([events] if together else [[e] for e in events])]
        assert moved[-1] == {(trunk.user, CONVERSATION)}
        messages = (await rows_of(pool, trunk.user))["messages"]
        assert [row["id"] for row in messages] == ["lost0", "lost1", "after2", "after0", "after1"]
        assert [row["sequence_number"] for row in messages] == [0, 1, 2, 3, 4]


async def test_a_message_that_was_moved_and_deleted_does_not_come_back(pool: Pool) -> None:
    """Its event says a number at which another stands; its deletion says the one that it was given."""
    trunk = History(next(fresh_users), CONVERSATION)
    lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
    lost.append(1)
    after.append(1)
    events = [*lost.history.events, *after.history.events]
    for event in events:
        await BatchWriter(pool).write(recorded([event]))
    moved = after.history.removed(1).model_copy(update={"message_id": MessageId("after0")})
    await BatchWriter(pool).write(recorded([moved]))
    for event in (*events, moved, *events):
        await BatchWriter(pool).write(recorded([event]))
    messages = (await rows_of(pool, trunk.user))["messages"]
    assert [row["id"] for row in messages] == ["lost0"]


async def test_a_late_message_comes_after_all_that_the_record_has(pool: Pool) -> None:
    """Its batch knows of no number but its own."""
    trunk = History(next(fresh_users), CONVERSATION)
    lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
    lost.append(3)
    after.append(1)
    for branch in (lost, after):
        await BatchWriter(pool).write(recorded(branch.history.events))
    messages = (await rows_of(pool, trunk.user))["messages"]
    assert [row["id"] for row in messages] == ["lost0", "lost1", "lost2", "after0"]


async def test_the_number_of_a_message_that_was_deleted_is_not_its_successor_s_end(pool: Pool) -> None:
    """A message that was given the number of a deleted one was not deleted with it."""
    trunk = History(next(fresh_users), CONVERSATION)
    lost, after = (Branch(name, replace(trunk, events=[])) for name in ("lost", "after"))
    lost.append(1)
    lost.remove(0)
    after.append(1)
    for branch in (lost, after):
        await BatchWriter(pool).write(recorded(branch.history.events))
    messages = (await rows_of(pool, trunk.user))["messages"]
    assert [(row["id"], row["sequence_number"]) for row in messages] == [("after0", 1)]


async def test_an_id_with_another_body_is_still_refused(pool: Pool) -> None:
    """At whatever number: one of the two would be dropped."""
    trunk = History(next(fresh_users), CONVERSATION)
    appended = trunk.appended("mine")
    await BatchWriter(pool).write(recorded([appended]))
    other = trunk.appended("another").model_copy(update={"bodies": (body("m0", "another"),)})
    with pytest.raises(Collision, match="sequence number 1"):
        await BatchWriter(pool).write(recorded([other]))

"""Pending events over the record: whatever part of them PostgreSQL has already, readers see the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from common.domain.conversations import State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    ConversationTruncated,
    ConversationUpdated,
    MessageBody,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
)
from common.domain.ids import ConversationId, MessageId, UserId
from common.domain.messages import Numbered
from common.domain.overlay import OnRecord, overlay, overlay_header, pending_messages

USER = UserId("alice")
ID = ConversationId("0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c")
STATE = State("A", None, b"{}", "2026-01-01T00:00:00Z")
RENAMED = State("B", "gpt", b'{"a":1}', "2026-01-01T00:00:00Z")


def body(text: str) -> MessageBody:
    """A message whose id and content are `text`."""
    return MessageBody(to_json({"id": text, "role": "user", "content": text}))


@dataclass
class Story:
    """A conversation told event by event: the naive model, and the events it wrote."""

    messages: dict[int, MessageBody] = field(default_factory=dict[int, MessageBody])
    next_number: int = 0
    events: list[ConversationEvent] = field(default_factory=list[ConversationEvent])

    @property
    def about(self) -> dict[str, object]:
        """What every event has in common; the clock goes on."""
        at_ms = 1000 + len(self.events)
        return {"user_id": USER, "conversation_id": ID, "at_ms": at_ms, "version": len(self.events) + 1}

    def create(self) -> None:
        self.events.append(ConversationCreated.model_validate({**self.about, "state": STATE}))

    def rename(self) -> None:
        self.events.append(ConversationUpdated.model_validate({**self.about, "state": RENAMED}))

    def append(self, count: int) -> None:
        first = self.next_number
        bodies = tuple(body(f"m{first + i}") for i in range(count))
        self.events.append(
            MessagesAppended.model_validate({**self.about, "first_sequence_number": first, "bodies": bodies})
        )
        self.messages |= dict(enumerate(bodies, first))
        self.next_number += count

    def edit(self, number: int) -> None:
        new = body(f"m{number}, version {len(self.events)}")
        which = {"message_id": MessageId(f"m{number}"), "sequence_number": number}
        self.events.append(MessageEdited.model_validate({**self.about, **which, "body": new}))
        self.messages[number] = new

    def delete(self, number: int) -> None:
        which = {"message_id": MessageId(f"m{number}"), "sequence_number": number}
        self.events.append(MessageDeleted.model_validate({**self.about, **which}))
        del self.messages[number]

    def truncate(self, after: int) -> None:
        self.events.append(
            ConversationTruncated.model_validate(
                {**self.about, "after_sequence_number": after, "next_sequence_number": self.next_number}
            )
        )
        self.messages = {number: body for number, body in self.messages.items() if number <= after}

    def shown(self) -> list[Numbered]:
        """What a reader must see."""
        return [Numbered(number, self.messages[number]) for number in sorted(self.messages)]


def tell(steps: list[tuple[str, int]]) -> tuple[Story, list[list[Numbered]]]:
    """A story of `steps`, and what the record holds after each of its events."""
    story = Story()
    story.create()
    records = [[], story.shown()]
    for what, number in steps:
        numbers = sorted(story.messages)
        if what == "append":
            story.append(number % 4 + 1)
        elif what == "truncate":
            story.truncate(number % (story.next_number + 1) - 1)
        elif what == "rename":
            story.rename()
        elif numbers and what == "edit":
            story.edit(numbers[number % len(numbers)])
        elif numbers and what == "delete":
            story.delete(numbers[number % len(numbers)])
        else:
            continue
        records.append(story.shown())
    return story, records


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "edit", "delete", "truncate", "rename"]), st.integers(0, 50)
    ),
    max_size=12,
)


@given(STEPS, st.data())
def test_readers_see_the_whole_story(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    """The record has taken in some events; more are known as pending than it lacks; the order of the
    list is any. What is shown is the same."""
    story, records = tell(steps)
    committed = data.draw(st.integers(0, len(story.events)), label="events in the record")
    known_from = data.draw(st.integers(0, committed), label="first event still pending in Redis")
    pending = data.draw(st.permutations(story.events[known_from:]), label="pending")

    assert overlay(records[committed], pending_messages(pending)) == story.shown()


@given(STEPS, st.data())
def test_the_touched_numbers_are_all_the_record_may_be_wrong_about(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """What is not touched can be paged and counted in PostgreSQL alone."""
    story, records = tell(steps)
    committed = data.draw(st.integers(0, len(story.events)), label="events in the record")
    pending = pending_messages(story.events[committed:])

    untouched = [m for m in records[committed] if m.sequence_number not in pending.touched]
    shown = {*story.shown()}
    assert {*untouched} <= shown
    assert shown - {*untouched} == {*pending.bodies.values()}


@given(STEPS, st.data())
def test_a_header_that_redis_lost_is_told_again(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    """From the record's, with events it has taken in already among the pending ones."""
    story, _ = tell([step for step in steps if step[0] in ("append", "rename")])
    committed = data.draw(st.integers(0, len(story.events)), label="events in the record")
    known_from = data.draw(st.integers(0, committed), label="first event still pending in Redis")
    stored = overlay_header(None, story.events[:committed])

    header = overlay_header(stored, data.draw(st.permutations(story.events[known_from:])))

    assert header is not None
    assert header == overlay_header(None, story.events)
    assert header.version == len(story.events)
    assert (header.next_sequence_number, header.message_count) == (story.next_number, len(story.messages))
    assert header.preview == (f"m{story.next_number - 1}" if story.next_number else None)
    assert header.last_modified_ms == story.events[-1].at_ms
    assert header.state in (STATE, RENAMED)


def test_an_append_that_is_known_before_its_creation_makes_a_header() -> None:
    """The creation may be committed and trimmed, or come later: what is known is shown."""
    story = Story()
    story.create()
    story.append(2)
    header = overlay_header(None, story.events[1:])
    assert header is not None
    assert header.state.title is None
    assert header.message_count == 2


def test_nothing_is_made_of_nothing() -> None:
    """No record, no events: no conversation."""
    assert overlay_header(None, []) is None
    assert overlay([], pending_messages([])) == []


def test_a_deletion_is_seen() -> None:
    """The header says so; its messages are no longer asked for."""
    story = Story()
    story.create()
    story.append(1)
    deleted = ConversationDeleted.model_validate({**story.about, "epoch": 2})
    header = overlay_header(None, [*story.events, deleted])
    assert header is not None
    assert header.deleted
    assert header.epoch == 2


def test_a_deletion_is_final_whatever_its_version() -> None:
    """Redis came back older, and gave a version to a deletion that the record has had for another event."""
    story = Story()
    story.create()
    story.append(1)
    deleted = ConversationDeleted.model_validate({**story.about, "epoch": 2})
    story.append(1)
    story.append(1)
    stored = overlay_header(None, story.events)
    header = overlay_header(stored, [deleted])
    assert stored is not None
    assert header is not None
    assert header.deleted
    assert header.version == stored.version


def test_a_number_is_taken_whatever_the_version() -> None:
    """As above: what was appended since must not have its number given again."""
    story = Story()
    story.create()
    story.append(2)
    stored = overlay_header(None, story.events)
    assert stored is not None
    header = overlay_header(replace(stored, version=9, next_sequence_number=1), story.events)
    assert header is not None
    assert header.next_sequence_number == 2


def test_a_truncation_spares_what_came_after_it() -> None:
    """It names the numbers it takes away, so the order of events does not matter."""
    story = Story()
    story.create()
    story.append(3)
    story.truncate(0)
    story.append(1)
    assert [m.sequence_number for m in overlay([], pending_messages(story.events))] == [0, 3]


@given(STEPS, st.data())
def test_a_pending_event_is_no_newer_than_what_came_after_it(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Events are committed in any order, and Redis may take for pending what is committed: as long as the
    record has all that is not pending, readers see the whole story."""
    story, records = tell(steps)
    pending = data.draw(st.sets(st.sampled_from(range(len(story.events)))), label="pending")
    # The record took in everything, with or without what is pending: what it knows of versions is the same.
    events = [story.events[i] for i in sorted(pending)]
    versions = pending_messages(story.events).versions
    known = [
        OnRecord(number, story.messages.get(number), versions[number], number not in story.messages)
        for number in pending_messages(events).bodies
    ]

    assert overlay(records[-1], pending_messages(events).beside(known)) == story.shown()

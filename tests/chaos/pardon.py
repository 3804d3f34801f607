"""What the checker excuses where Redis lost events that nobody else had, and for how long. See ADR 0043.

A story that lost something is judged leniently while its window is open: then its lost messages may be gone,
may come (a persister had read them), and may meet others at their numbers. What the record had is demanded
all the while; what is answered in the window is demanded from its end on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.facts import Facts, Story
from tests.chaos.history import Operation
from tests.chaos.losses import Loss, LostEvent
from tests.chaos.stored import Record, StoredConversation


@dataclass(frozen=True, slots=True)
class Window:
    """What one cut has taken from one story, and when."""

    killed_ns: int
    dead_ns: int
    well_ns: float
    numbers: Mapping[str, int]  # of the messages that are lost
    titles: frozenset[str]
    vanished: bool  # with its beginning: there is no such conversation
    undeleted: bool
    before_ms: int  # the earliest change that is lost

    def holds(self, operation: Operation) -> bool:
        """Whether an operation may have seen the state before, after, or in between."""
        return operation.completed_ns >= self.killed_ns and operation.invoked_ns <= self.well_ns


def windows_of(losses: Sequence[Loss], facts: Facts) -> list[tuple[Window, Story]]:
    """The windows of all stories that lost anything; each story knows its own, too."""
    found: list[tuple[Window, Story]] = []
    for loss in losses:
        by_story: dict[tuple[str, str], list[LostEvent]] = {}
        for event in loss.events:
            by_story.setdefault((event.conversation, event.user), []).append(event)
        for key, events in by_story.items():
            story, window = facts.story(*key), _window(loss, events)
            story.windows.append(window)
            story.lost_numbers.update(window.numbers.values())
            for tag, number in window.numbers.items():
                story.lost_tags.setdefault(tag, set()).add(number)
            found.append((window, story))
    return found


def _window(loss: Loss, events: Iterable[LostEvent]) -> Window:
    events = list(events)
    return Window(
        loss.killed_ns,
        loss.dead_ns,
        math.inf if loss.well_ns is None else loss.well_ns,
        {tag: event.first + i for event in events for i, tag in enumerate(event.tags)},
        frozenset(event.title for event in events if event.title is not None),
        any(event.type == "conversation.created" and event.absent for event in events),
        any(event.type == "conversation.deleted" for event in events),
        min(event.at_ms for event in events),
    )


def forget(story: Story, window: Window, facts: Facts) -> None:
    """What was known of a story by what is lost is known no more."""
    for tag in window.numbers:
        number = story.numbers.pop(tag, None)
        if number is not None and story.tags.get(number) == tag:
            del story.tags[number]
    story.known = {message for message in story.known if message.tag not in window.numbers}
    story.afloat -= window.numbers.keys()
    story.highest = max(story.tags, default=-1)
    story.counted = 0
    for title in window.titles:
        story.effects.pop(title, None)
        story.renamed.pop(title, None)
    if window.undeleted:
        story.deleted = None
    if window.vanished:
        story.begun_ns = math.inf
    for sent in facts.by_conversation.get(story.id, ()):
        if sent.invoked_ns < window.killed_ns:
            sent.floor = min(sent.floor, story.highest)


def settle(story: Story, stored: StoredConversation | None) -> None:
    """The window closes: what was answered in it has the place that the record gives it."""
    story.known = set()  # so that everything is looked at once more
    if stored is None or stored.deleted:
        story.uneven = True
        return
    story.places = {message.tag: message.number for message in stored.messages}
    for tag in story.afloat & story.places.keys():
        story.see(story.places[tag], tag)
    story.holes = story.lost_numbers - set(story.places.values())


def rows_by_id(record: Record) -> dict[str, StoredConversation]:
    """The record's conversations."""
    return {conversation.id: conversation for conversation in record.conversations}

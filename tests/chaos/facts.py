"""What a history says by itself, before anything is judged: who owns what, and what was sent."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.history import APPENDS, LISTS, WRITES, Kind, Message, Operation, Outcome, Row
from tests.chaos.tags import user_of

if TYPE_CHECKING:
    from tests.chaos.pardon import Window


@dataclass(slots=True)
class Sent:
    """A message that was sent, in one call or in several that repeat it."""

    tag: str
    conversation: str | None  # None: a new one
    batch: tuple[str, ...]
    operation: str  # the first that sent it
    invoked_ns: int
    acknowledged: bool = False
    refused: bool = True  # every time
    floor: int = -1  # the highest number known to be given out when it was first sent

    @property
    def following(self) -> str | None:
        """The next of its batch."""
        place = self.batch.index(self.tag) + 1
        return self.batch[place] if place < len(self.batch) else None


@dataclass(slots=True)
class Story:
    """One conversation: what was done to it, and what is known of it at a moment of the sweep."""

    id: str
    owner: str
    first_delete_ns: float = math.inf  # when one was first asked for
    titles: dict[str, int] = field(default_factory=dict[str, int])  # of renames: when it was asked for
    writes: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    begun_ns: float = math.inf  # since when it is known to be there
    deleted: str | None = None  # the operation from which that is known
    known: set[Message] = field(default_factory=set[Message])
    numbers: dict[str, int] = field(default_factory=dict[str, int])  # of visible tags, as first seen
    tags: dict[int, str] = field(default_factory=dict[int, str])
    highest: int = -1
    counted: int = 0  # the highest count that a list or a header showed
    modified_ms: int = -1
    renamed: dict[str, int] = field(default_factory=dict[str, int])  # acknowledged renames, when they began
    effects: dict[str, int] = field(default_factory=dict[str, int])  # titles: by when they were there
    served_finally: bool = False
    final_rows: set[Row] = field(default_factory=set[Row])

    # What Redis lost of it, where it was cut back under load (pardon.py).
    windows: list[Window] = field(default_factory=list["Window"])
    lost_tags: dict[str, set[int]] = field(default_factory=dict[str, set[int]])  # and their numbers
    lost_numbers: set[int] = field(default_factory=set[int])
    afloat: set[str] = field(default_factory=set[str])  # tags that were first seen while a window was open
    places: dict[str, int] = field(default_factory=dict[str, int])  # of tags at the end
    holes: set[int] = field(default_factory=set[int])  # numbers whose messages are lost for good
    uneven: bool = False  # it has holes, and nobody knows which

    @property
    def renamed_ns(self) -> int:
        """The latest that an acknowledged rename began."""
        return max(self.renamed.values(), default=-1)

    @property
    def least(self) -> int:
        """How many messages it has at least."""
        return self.highest + 1 - sum(hole <= self.highest for hole in self.holes)

    def window(self, operation: Operation) -> Window | None:
        """The latest open window that an operation falls into. Of what is uneven, none ever closes."""
        for window in reversed(self.windows):
            if window.holds(operation) or (self.uneven and operation.completed_ns >= window.killed_ns):
                return window
        return None

    def is_over(self, operation: Operation) -> bool:
        """Whether an operation came after all that was lost of it."""
        return bool(self.windows) and operation.invoked_ns > self.windows[-1].well_ns

    def see(self, number: int, tag: str) -> None:
        """A message is known to be at a number."""
        if tag in self.numbers:
            return
        self.numbers[tag] = number
        self.tags.setdefault(number, tag)
        self.highest = max(self.highest, number)

    def may_be_deleted(self, by_ns: int) -> bool:
        """Whether anybody had asked for that."""
        return self.first_delete_ns < by_ns

    def touched(self, from_ns: int, to_ns: int) -> bool:
        """Whether a change may have taken effect in between; an unknown one may at any time."""
        before = bisect_left(self.writes, (to_ns, -math.inf))
        return any(end > from_ns for _, end in self.writes[:before])


@dataclass
class Facts:
    """All stories and everything sent."""

    stories: dict[str, Story] = field(default_factory=dict[str, Story])
    sent: dict[str, Sent] = field(default_factory=dict[str, Sent])
    begun_by: dict[str, str] = field(default_factory=dict[str, str])
    """Which conversation a call began, by the call's id or that of the first of its repeats."""
    by_conversation: dict[str, list[Sent]] = field(default_factory=dict[str, list[Sent]])
    """What was sent to each."""

    def story(self, conversation: str, owner: str) -> Story:
        """The story of a conversation; `owner` is who has it where nothing else tells."""
        found = self.stories.get(conversation)
        if found is None:
            found = self.stories[conversation] = Story(conversation, owner)
        return found


def gather(operations: Sequence[Operation]) -> Facts:
    """Read a history once."""
    facts = Facts()
    for conversation, owner in _owners(operations):
        facts.story(conversation, owner)
    for operation in operations:
        for tag in operation.arguments.tags:
            _note_sent(facts, tag, operation)
        if operation.conversation is not None and operation.ok:
            facts.begun_by.setdefault(operation.retry_of or operation.id, operation.conversation)
        if operation.conversation is not None and operation.kind in WRITES:
            _note_write(facts.story(operation.conversation, operation.user), operation)
    for story in facts.stories.values():
        story.writes.sort()
    return facts


def _owners(operations: Sequence[Operation]) -> Iterable[tuple[str, str]]:
    """Who has which conversation, the surest first: who began it, then whose title it shows."""
    for operation in operations:
        begins = operation.kind is Kind.CREATE or operation.arguments.conversation is None
        if operation.conversation is not None and begins:
            yield operation.conversation, operation.user
    for operation in operations:
        if operation.kind in LISTS:
            for row in operation.reply.rows:
                yield row.conversation, user_of(row.title or "") or operation.user


def _note_sent(facts: Facts, tag: str, operation: Operation) -> None:
    sent = facts.sent.get(tag)
    if sent is None:
        asked = operation.arguments
        sent = facts.sent[tag] = Sent(
            tag, asked.conversation, asked.tags, operation.retry_of or operation.id, operation.invoked_ns
        )
        if asked.conversation is not None:
            facts.by_conversation.setdefault(asked.conversation, []).append(sent)
    sent.invoked_ns = min(sent.invoked_ns, operation.invoked_ns)
    sent.acknowledged |= operation.ok
    sent.refused &= operation.outcome is Outcome.REFUSED


def _note_write(story: Story, operation: Operation) -> None:
    if operation.user != story.owner or operation.outcome is Outcome.REFUSED:
        return
    if operation.kind is Kind.DELETE:
        story.first_delete_ns = min(story.first_delete_ns, operation.invoked_ns)
    if operation.kind is Kind.RENAME and operation.arguments.title:
        story.titles[operation.arguments.title] = operation.invoked_ns
    if operation.kind in APPENDS or operation.kind in (Kind.RENAME, Kind.CREATE):
        end = operation.completed_ns if operation.ok else math.inf
        story.writes.append((operation.invoked_ns, end))

"""One message, one number, one id, one place: what all sightings of a message must agree on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

from tests.chaos.facts import Facts, Story
from tests.chaos.history import Message
from tests.chaos.tags import user_of
from tests.chaos.verdict import Verdict, Violation


class Sightings:
    """Collects what was seen where. `judge` says at the end what does not agree."""

    def __init__(self, facts: Facts, verdict: Verdict) -> None:
        self._facts = facts
        self._verdict = verdict
        self._numbers: defaultdict[tuple[str, str], dict[int, str]] = defaultdict(dict)  # of a tag: where
        self._tags: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)  # with a number
        self._ids: dict[tuple[str, str], tuple[str, str]] = {}
        self._named: dict[tuple[str, str], tuple[str, str]] = {}  # of a tag: its id
        self._homes: dict[str, tuple[str, str]] = {}  # of a tag: its conversation
        self._twice: dict[tuple[str, str], str] = {}
        self._answers: dict[tuple[str, str], str] = {}  # tags that two answers gave two numbers
        self._settled: dict[tuple[str, str], int] = {}  # of a tag: its number in the record
        self._since: defaultdict[tuple[str, str], dict[int, str]] = defaultdict(dict)  # as `_numbers`
        self._replies: dict[tuple[str, str], tuple[int, str]] = {}

    def together(self, story: Story, messages: Sequence[Message], where: str) -> None:
        """Messages that one reply, or the record, shows side by side: none may be there twice."""
        tags = [message.tag for message in messages]
        if len(set(tags)) < len(tags):
            for tag in {tag for tag in tags if tags.count(tag) > 1}:
                self._twice[story.id, tag] = where

    def reply(self, story: Story, messages: Sequence[Message], where: str) -> None:
        """An append's answer: another answer to the same message must give the same number."""
        for message in messages:
            number, first = self._replies.setdefault((story.id, message.tag), (message.number, where))
            if number != message.number:
                self._answers[story.id, message.tag] = (
                    f"{first} (number {number}) and {where} ({message.number})"
                )

    def since(self, story: Story, message: Message, where: str) -> None:
        """A message as it was seen when all that Redis had lost of a conversation was over."""
        self._since[story.id, message.tag].setdefault(message.number, where)

    def recorded(self, story: Story, messages: Sequence[Message]) -> None:
        """Where the record has them at the end."""
        for message in messages:
            self._settled[story.id, message.tag] = message.number

    def message(self, story: Story, message: Message, where: str) -> None:
        """A message that was seen in this way for the first time."""
        number, tag, id_ = message
        if not self._numbers[story.id, tag]:
            self._check_floor(story, tag, number)
        self._numbers[story.id, tag].setdefault(number, where)
        self._tags[story.id, number].setdefault(tag, where)
        self._check_sent(story, tag, where)
        self._check_named(story, tag, id_, where)
        other, first = self._ids.setdefault((story.id, id_), (tag, where))
        if other != tag:
            self._verdict.add(
                Violation.DUPLICATED, id_, f"id {id_} is of {other} in {first} and of {tag} in {where}"
            )

    def title(self, story: Story, tag: str | None, where: str) -> None:
        """A title; each is of one conversation."""
        if tag is None:
            return
        if user_of(tag) not in ("", story.owner):
            self._verdict.add(
                Violation.CROSS_USER, tag, f"{where} shows {story.owner} the title {tag} ({story.id})"
            )
        self._home(story, tag, where)

    def judge(self) -> None:
        """Report what moved, what is twice, and numbers that two messages had."""
        add = self._verdict.add
        moved = {key for key, numbers in self._numbers.items() if len(numbers) > 1}
        excused = self._excused(moved)
        answers = {key: where for key, where in self._answers.items() if key not in excused}
        moved -= excused
        # Whatever it may have been before: it is to be found where the record has it.
        for key in excused & self._since.keys() & self._settled.keys():
            self._numbers[key] = {self._settled[key]: "the record"} | self._since[key]
            moved |= {key} if len(self._numbers[key]) > 1 else set()
        twice = {**answers, **self._twice}
        for (conversation, tag), where in twice.items():
            add(Violation.DUPLICATED, tag, f"{tag} is twice in {conversation}: {where}")
        for conversation, tag in moved - twice.keys():
            seen = ", ".join(f"{n} in {where}" for n, where in self._numbers[conversation, tag].items())
            add(Violation.REORDERED, tag, f"{tag} in {conversation} had the numbers {seen}")
        odd = moved | twice.keys() | excused
        for (conversation, number), tags in self._tags.items():
            settled = {tag: where for tag, where in tags.items() if (conversation, tag) not in odd}
            if len(settled) > 1:
                seen = ", ".join(f"{tag} in {where}" for tag, where in settled.items())
                add(
                    Violation.REUSED, f"{conversation}#{number}", f"number {number} of {conversation}: {seen}"
                )

    def _excused(self, moved: Set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Messages that may have had another number before: those that Redis lost, and those that were
        answered after that and met one of them, or each other, at their numbers."""
        excused: set[tuple[str, str]] = set()
        for story in self._facts.stories.values():
            excused |= {(story.id, tag) for tag in story.lost_tags}
        waiting = {
            (conversation, tag)
            for conversation, tag in moved
            if tag in self._facts.stories[conversation].afloat and (conversation, tag) not in excused
        }
        while met := {key for key in waiting if self._met(key, excused)}:
            excused |= met
            waiting -= met
        return excused

    def _met(self, key: tuple[str, str], excused: Set[tuple[str, str]]) -> bool:
        """Whether one of `excused` that is there had each number that a message has given up."""
        conversation, tag = key
        final, story = self._settled.get(key), self._facts.stories[conversation]
        lost = story.lost_tags
        return story.uneven or all(
            number == final
            or any(
                other != tag and (conversation, other) in excused and (conversation, other) in self._settled
                for other in (*self._tags[conversation, number], *_with_number(lost, number))
            )
            for number in self._numbers[key]
        )

    def _check_named(self, story: Story, tag: str, id_: str, where: str) -> None:
        """It keeps its id, unless it was lost: then it may have been sent again."""
        other, first = self._named.setdefault((story.id, tag), (id_, where))
        if other != id_ and tag not in story.lost_tags:
            text = f"{tag} of {story.id} has the id {other} in {first} and {id_} in {where}"
            self._verdict.add(Violation.DUPLICATED, tag, text)

    def _check_floor(self, story: Story, tag: str, number: int) -> None:
        sent = self._facts.sent.get(tag)
        if sent is not None and number <= sent.floor:
            text = (
                f"{tag} has number {number} of {story.id}, and was sent after number {sent.floor} was there"
            )
            self._verdict.add(Violation.REORDERED, tag, text)

    def _check_sent(self, story: Story, tag: str, where: str) -> None:
        sent, add = self._facts.sent.get(tag), self._verdict.add
        if user_of(tag) not in ("", story.owner):
            add(Violation.CROSS_USER, tag, f"{where} shows {story.owner} the message {tag}")
        elif sent is None:
            add(Violation.UNSENT, tag, f"{where} shows {tag!r} in {story.id}, which nobody sent so")
        elif sent.conversation not in (None, story.id):
            text = f"{where} shows {tag} in {story.id}, it was sent to {sent.conversation}"
            add(Violation.UNSENT, tag, text)
        elif sent.refused and not story.may_be_deleted(2**63):
            add(Violation.UNSENT, tag, f"{where} shows {tag} in {story.id}, whose append was refused")
        else:
            self._home(story, tag, where)

    def _home(self, story: Story, tag: str, where: str) -> None:
        home, first = self._homes.setdefault(tag, (story.id, where))
        if home != story.id:
            text = f"{tag} is in {home} ({first}) and in {story.id} ({where})"
            self._verdict.add(Violation.DUPLICATED, tag, text)


def _with_number(lost: Mapping[str, Set[int]], number: int) -> Iterator[str]:
    return (tag for tag, numbers in lost.items() if number in numbers)

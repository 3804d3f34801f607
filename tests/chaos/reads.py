"""Checks of one reply that shows messages, against what was known before it was asked for."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.facts import Facts, Story
from tests.chaos.history import APPENDS, Kind, Message, Operation
from tests.chaos.verdict import Verdict, Violation

if TYPE_CHECKING:
    from tests.chaos.pardon import Window


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers that a reply answers for: all from `first` to `last` that there are.

    `filled` is the last number that must be there because the reply shows or counts a later one;
    `to_end` says that nothing can follow what it shows.
    """

    first: int
    last: float
    filled: int
    to_end: bool


def span_of(operation: Operation, holes: Collection[int] = ()) -> Span:
    """What a read answers for; `holes` are numbers that no message has."""
    asked, reply = operation.arguments, operation.reply
    numbers = [message.number for message in reply.messages]
    low, high = min(numbers, default=0), max(numbers, default=-1)
    full = asked.limit is not None and len(numbers) >= asked.limit
    if operation.kind is Kind.PAGE:
        return _page_span(operation, holes)
    if asked.after is not None:
        last = math.inf if asked.before is None else asked.before - 1
        return Span(max(0, asked.after + 1), high if full else last, high, not full and math.isinf(last))
    last = math.inf if asked.before is None else asked.before - 1
    return Span(low if full else 0, last, high, math.isinf(last))


def _page_span(operation: Operation, holes: Collection[int]) -> Span:
    """A page is of ranks: where nothing has holes, of numbers."""
    asked, total = operation.arguments, operation.reply.total or 0
    size, number = asked.page_size or 1, asked.page or 1
    first, last = (number - 1) * size, number * size - 1
    if asked.descending:
        first, last = max(0, total - number * size), total - (number - 1) * size - 1
    filled = _number_at(min(last, total - 1), holes)
    return Span(_number_at(first, holes), _number_at(last, holes), filled, first < total <= last + 1)


def _number_at(rank: int, holes: Collection[int]) -> int:
    number = rank
    for hole in sorted(holes):
        number += hole <= number
    return number


def check_messages(operation: Operation, story: Story, facts: Facts, verdict: Verdict) -> None:
    """Nothing missing, nothing out of order, no hole and no part of a batch."""
    _check_order(operation, verdict)
    shown = {message.number: message for message in operation.reply.messages}
    span = span_of(operation, story.holes)
    tags = {message.tag for message in shown.values()}
    for number in range(span.first, int(max(min(span.last, story.highest), span.filled)) + 1):
        tag = story.tags.get(number)
        if tag is not None and tag not in tags and number <= span.last:
            _missing(operation, story, tag, number, verdict)
        elif number not in shown and number <= span.filled and tag is None and number not in story.holes:
            text = f"{describe(operation)} has a hole at {number} of {story.id}"
            verdict.add(Violation.GAP, f"{story.id}#{number}", text)
    if operation.kind is Kind.PAGE and (operation.reply.total or 0) < story.least:
        text = (
            f"{describe(operation)} counts {operation.reply.total}, {story.tags[story.highest]} had been seen"
        )
        verdict.add(Violation.STALE, operation.id, text)
    if span.to_end and shown:
        _check_whole(operation, shown[max(shown)], tags | story.numbers.keys(), facts, verdict)


def check_firm(operation: Operation, story: Story, window: Window, verdict: Verdict) -> None:
    """The same while it is open what a cut has taken: only what the record had is demanded, in order."""
    _check_order(operation, verdict)
    tags, span = {message.tag for message in operation.reply.messages}, span_of(operation)
    if operation.kind is Kind.PAGE:
        if operation.arguments.page != 1 or len(tags) >= (operation.arguments.page_size or 0):
            return  # of ranks, and nobody knows which numbers are holes by now
        span = Span(0, math.inf, -1, to_end=True)
    for number in range(span.first, int(min(span.last, story.highest)) + 1):
        tag = story.tags.get(number)
        if tag is not None and tag not in tags and tag not in window.numbers:
            _missing(operation, story, tag, number, verdict)


def check_subject(operation: Operation, verdict: Verdict) -> None:
    """An answer is about the conversation that was asked for."""
    asked, reply = operation.arguments.conversation, operation.reply
    told = {reply.conversation, reply.header and reply.header.conversation} - {None, asked}
    if asked is not None and told:
        text = f"{describe(operation)} asked for {asked}, the answer is about {told}"
        verdict.add(Violation.DISORDERED, operation.id, text)


def check_appended(operation: Operation, verdict: Verdict) -> None:
    """An append's answer: what was sent, in the order in which it was sent."""
    messages = operation.reply.messages
    answered, numbers = [m.tag for m in messages], [m.number for m in messages]
    if sorted(answered) != sorted(operation.arguments.tags):
        verdict.add(Violation.UNSENT, operation.id, f"{describe(operation)} answered with {answered}")
    elif answered != list(operation.arguments.tags) or numbers != sorted(set(numbers)):
        text = (
            f"{describe(operation)} gave its messages the numbers {numbers}, the reply's order is {answered}"
        )
        verdict.add(Violation.REORDERED, operation.id, text)


def _check_order(operation: Operation, verdict: Verdict) -> None:
    asked, numbers = operation.arguments, [message.number for message in operation.reply.messages]
    if numbers != sorted(numbers, reverse=asked.descending):
        verdict.add(Violation.REORDERED, operation.id, f"{describe(operation)} shows the order {numbers}")
    outside = [
        number
        for number in numbers
        if (asked.after is not None and number <= asked.after)
        or (asked.before is not None and number >= asked.before)
    ]
    most = asked.limit or asked.page_size
    if outside or (most is not None and len(numbers) > most):
        verdict.add(Violation.DISORDERED, operation.id, f"{describe(operation)} was answered with {numbers}")


def _missing(operation: Operation, story: Story, tag: str, number: int, verdict: Verdict) -> None:
    text = (
        f"{describe(operation)} is without {tag}, number {number} of {story.id}, acknowledged or seen before"
    )
    if operation.final:
        verdict.add(Violation.LOST, tag, text)
    else:
        verdict.add(Violation.STALE, operation.id, text)


def _check_whole(operation: Operation, last: Message, tags: set[str], facts: Facts, verdict: Verdict) -> None:
    """`tags` are those that are shown, or were before: what is without these is stale."""
    sent = facts.sent.get(last.tag)
    if sent is not None and sent.following is not None and sent.following not in tags:
        text = f"{describe(operation)} ends with {last.tag}, without {sent.following} of the same batch"
        verdict.add(Violation.TORN, sent.operation, text)


def describe(operation: Operation) -> str:
    """An operation in a few words."""
    asked = operation.arguments
    if operation.kind in APPENDS:
        return f"{operation.kind} {operation.id} via {operation.gateway}"
    named = {
        "limit": asked.limit,
        "after": asked.after,
        "before": asked.before,
        "page": asked.page,
        "page_size": asked.page_size,
    }
    details = " ".join(f"{name}={value}" for name, value in named.items() if value is not None)
    final = "final " if operation.final else ""
    return f"{final}{operation.kind} {operation.id} ({details}) via {operation.gateway}"

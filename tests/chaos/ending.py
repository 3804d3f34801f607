"""Checks of the record at the end, against all that was ever acknowledged or seen."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tests.chaos.facts import Facts, Story
from tests.chaos.sightings import Sightings
from tests.chaos.stored import Record, StoredConversation
from tests.chaos.verdict import Verdict, Violation

RECORD = "the record"


def check_record(record: Record, facts: Facts, sightings: Sightings, verdict: Verdict) -> None:
    """Everything is there, once, whole and in its place; nothing is there of what was deleted."""
    stored = {conversation.id: conversation for conversation in record.conversations}
    for conversation in record.conversations:
        story = facts.story(conversation.id, conversation.user)
        if story.owner != conversation.user:
            text = f"{RECORD} has {conversation.id} for {conversation.user}, it is {story.owner}'s"
            verdict.add(Violation.CROSS_USER, conversation.id, text)
    for story in facts.stories.values():
        if math.isinf(story.begun_ns) and story.id not in stored and not story.afloat:
            continue
        _check_story(story, stored.get(story.id), facts, sightings, verdict)


def _check_story(
    story: Story, stored: StoredConversation | None, facts: Facts, sightings: Sightings, verdict: Verdict
) -> None:
    gone = stored is None or stored.deleted
    if story.deleted is not None or (gone and not math.isinf(story.first_delete_ns)):
        _check_gone(story, stored, verdict)
        return
    if gone:
        _lose(story, story.numbers | dict.fromkeys(story.afloat, -1) or {story.id: -1}, verdict)
        return
    assert stored is not None
    sightings.together(story, stored.messages, RECORD)
    sightings.recorded(story, stored.messages)
    for message in stored.messages:
        if message not in story.known:
            sightings.message(story, message, RECORD)
    there = {message.tag for message in stored.messages}
    missing = [tag for tag in (*story.numbers, *story.afloat - story.numbers.keys()) if tag not in there]
    _lose(story, missing, verdict)
    _check_batches(there, missing, facts, verdict)
    _check_numbers(story, stored, verdict)


def _check_gone(story: Story, stored: StoredConversation | None, verdict: Verdict) -> None:
    if stored is not None and (not stored.deleted or stored.messages):
        text = (
            f"{RECORD} has {len(stored.messages)} messages of {story.id} after {story.deleted or 'a delete'}"
        )
        verdict.add(Violation.RESURRECTED, story.id, text)
    elif story.served_finally and story.deleted is None:
        verdict.add(Violation.RESURRECTED, story.id, f"{story.id} is deleted in {RECORD} and read at the end")


def _lose(story: Story, tags: Iterable[str], verdict: Verdict) -> None:
    for tag in tags:
        text = f"{tag} of {story.id} was acknowledged or seen, and is not in {RECORD}"
        verdict.add(Violation.LOST, tag, text)


def _check_batches(there: set[str], missing: list[str], facts: Facts, verdict: Verdict) -> None:
    """Of a batch that nobody saw whole, all is there or nothing."""
    for tag in there:
        sent = facts.sent.get(tag)
        if sent is None:
            continue
        rest = [other for other in sent.batch if other not in there and other not in missing]
        if rest:
            text = f"{RECORD} has {tag} without {', '.join(rest)} of the same batch"
            verdict.add(Violation.TORN, sent.operation, text)


def _check_numbers(story: Story, stored: StoredConversation, verdict: Verdict) -> None:
    numbers = {message.number for message in stored.messages}
    for number in sorted(set(range(stored.next_number)) - numbers):
        if number not in story.tags and number not in story.lost_numbers:  # else it is lost, or moved
            text = f"{RECORD} of {story.id} has nothing at number {number}"
            verdict.add(Violation.GAP, f"{story.id}#{number}", text)
    counts = {stored.count} | {row.messages for row in story.final_rows}
    if counts != {len(stored.messages)}:
        text = f"{story.id} has {len(stored.messages)} messages in {RECORD}, counted as {sorted(counts)}"
        verdict.add(Violation.MISCOUNTED, story.id, text)
    titles = {row.title for row in story.final_rows} - {stored.title}
    if titles:
        text = f"{story.id} is called {stored.title} in {RECORD}, and {titles} in a final list"
        verdict.add(Violation.STALE, story.id, text)
    if numbers and stored.next_number <= max(numbers):
        text = f"{RECORD} would give number {stored.next_number} of {story.id} again, it has {max(numbers)}"
        verdict.add(Violation.MISCOUNTED, story.id, text)

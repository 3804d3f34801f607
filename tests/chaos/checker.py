"""Check a history against the promises: `python -m tests.chaos.checker HISTORY.jsonl`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.ending import check_record
from tests.chaos.facts import Facts, Story, gather
from tests.chaos.history import APPENDS, LISTS, READS, WRITES, Kind, Operation, Outcome, Row, read_history
from tests.chaos.lists import Rankings, check_list, check_row
from tests.chaos.reads import check_appended, check_messages, describe
from tests.chaos.sightings import Sightings
from tests.chaos.stored import Record, read_record, record_beside
from tests.chaos.verdict import Verdict, Violation

# Not about what was asked for: too many at once, or a gateway whose clock is elsewhere refuses a token.
NO_JUDGEMENT: Final = (401, 429)


def check(operations: Sequence[Operation], record: Record) -> Verdict:
    """All that `operations` (final reads among them) and the `record` at the end prove to be broken.

    Claims only what the order of real time allows: what overlaps may have happened in either order, and what
    is unknown at any time after it was asked for, or never.
    """
    sweep = _Sweep(gather(operations))
    for operation, completed in _moments(operations):
        if completed:
            sweep.learn(operation)
        else:
            sweep.check(operation)
    verdict = sweep.verdict
    check_record(record, sweep.facts, sweep.sightings, verdict)
    sweep.sightings.judge()
    verdict.operations = len(operations)
    verdict.events = sum(operation.ok and operation.kind in WRITES for operation in operations)
    verdict.messages = sum(sent.acknowledged for sent in sweep.facts.sent.values())
    verdict.unknown = sum(operation.outcome is Outcome.UNKNOWN for operation in operations)
    return verdict


def _moments(operations: Sequence[Operation]) -> Iterator[tuple[Operation, bool]]:
    """Each operation when it began and (True) when it ended, in the order of time; a tie proves nothing, so
    there what begins comes first."""
    moments = [(operation.invoked_ns, False, i) for i, operation in enumerate(operations)]
    moments += [(operation.completed_ns, True, i) for i, operation in enumerate(operations)]
    for _, completed, i in sorted(moments):
        yield operations[i], completed


class _Sweep:
    """Goes through time. What is known when an operation begins, its reply must show."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.verdict = Verdict()
        self.sightings = Sightings(facts, self.verdict)
        self._rankings = Rankings()

    def check(self, operation: Operation) -> None:
        """Judge an operation by what was known when it was asked for."""
        for tag in operation.arguments.tags:
            self._note_floor(operation, tag)
        if operation.outcome is Outcome.UNKNOWN:
            return
        if operation.outcome is Outcome.REFUSED:
            self._check_refusal(operation)
        elif operation.kind in LISTS:
            for row in operation.reply.rows:
                self._check_row(operation, row)
            check_list(operation, self.facts, self._rankings, self.verdict)
        else:
            story = self._story(operation)
            if story is not None and self._allowed(operation, story):
                self._check_reply(operation, story)

    def learn(self, operation: Operation) -> None:
        """Take in what an operation has shown: from now on it is known."""
        story = self._story(operation)
        if operation.outcome is Outcome.REFUSED:
            if story is not None:
                self._learn_refusal(operation, story)
        elif operation.ok:
            for row in operation.reply.rows:
                listed = self.facts.story(row.conversation, operation.user)
                if listed.owner == operation.user:
                    self._learn_row(operation, listed, row)
            if story is not None and story.owner == operation.user:
                self._learn_reply(operation, story)

    def _story(self, operation: Operation) -> Story | None:
        # A repeat that is refused names no conversation: it is the one that the first call began.
        conversation = operation.conversation or self.facts.begun_by.get(operation.retry_of or "")
        return None if conversation is None else self.facts.story(conversation, operation.user)

    def _note_floor(self, operation: Operation, tag: str) -> None:
        sent = self.facts.sent[tag]
        if operation.invoked_ns == sent.invoked_ns and sent.conversation is not None:
            sent.floor = self.facts.story(sent.conversation, operation.user).highest

    def _allowed(self, operation: Operation, story: Story) -> bool:
        """Whether a conversation may be answered for at all: it is the user's own, and not deleted."""
        if story.owner != operation.user:
            text = f"{describe(operation)} by {operation.user} was answered, {story.id} is {story.owner}'s"
            self.verdict.add(Violation.CROSS_USER, operation.id, text)
            return False
        return not self._resurrected(operation, story)

    def _resurrected(self, operation: Operation, story: Story) -> bool:
        if story.deleted is None:
            return False
        text = f"{describe(operation)} found {story.id} after {story.deleted}"
        self.verdict.add(Violation.RESURRECTED, story.id, text)
        return True

    def _check_reply(self, operation: Operation, story: Story) -> None:
        if operation.kind in APPENDS:
            check_appended(operation, self.verdict)
        elif operation.kind in READS:
            check_messages(operation, story, self.facts, self.verdict)
        if operation.reply.header is not None:
            check_row(operation, story, operation.reply.header, self.verdict)

    def _check_row(self, operation: Operation, row: Row) -> None:
        story = self.facts.story(row.conversation, operation.user)
        if story.owner != operation.user:
            text = f"{describe(operation)} shows {operation.user} {story.id}, it is {story.owner}'s"
            self.verdict.add(Violation.CROSS_USER, story.id, text)
        elif not self._resurrected(operation, story):
            check_row(operation, story, row, self.verdict)

    def _check_refusal(self, operation: Operation) -> None:
        story = self._story(operation)
        foreign = story is not None and story.owner != operation.user
        if foreign or operation.status in NO_JUDGEMENT:
            return
        deleting = story is not None and story.may_be_deleted(operation.completed_ns)
        if operation.status == (409 if operation.kind is Kind.CREATE else 404) and story is not None:
            if deleting or story.begun_ns >= operation.invoked_ns:
                return
            text = f"{describe(operation)} did not find {story.id}, which had been begun"
            if operation.final:
                self.verdict.add(Violation.LOST, story.id, text)
            else:
                self.verdict.add(Violation.STALE, operation.id, text)
            return
        text = f"{describe(operation)} was refused with {operation.status}"
        self.verdict.add(Violation.REFUSED, operation.id, text)

    def _learn_refusal(self, operation: Operation, story: Story) -> None:
        """A conversation that was there and is not found, where somebody asked to delete it, is deleted."""
        gone = operation.status == (409 if operation.kind is Kind.CREATE else 404)
        known = story.owner == operation.user and story.begun_ns < operation.invoked_ns
        if gone and known and story.may_be_deleted(operation.completed_ns):
            story.deleted = story.deleted or describe(operation)

    def _learn_reply(self, operation: Operation, story: Story) -> None:
        if operation.kind is Kind.DELETE:
            story.deleted = story.deleted or describe(operation)
            return
        reply, where = operation.reply, describe(operation)
        story.begun_ns = min(story.begun_ns, operation.completed_ns)
        story.served_finally |= operation.final
        self.sightings.together(story, reply.messages, where)
        if operation.kind in APPENDS:
            self.sightings.reply(story, reply.messages, where)
        for message in reply.messages:
            if message not in story.known:
                story.known.add(message)
                self.sightings.message(story, message, where)
                self._see(story, message.number, message.tag)
        if operation.kind is Kind.RENAME and operation.arguments.title:
            story.renamed_ns = max(story.renamed_ns, operation.invoked_ns)
            story.effects.setdefault(operation.arguments.title, operation.completed_ns)
        if reply.header is not None:
            self._learn_row(operation, story, reply.header)
        if reply.at_ms is not None:
            self._rankings.move(story, reply.at_ms)

    def _see(self, story: Story, number: int, tag: str) -> None:
        if tag in story.numbers:
            return
        story.numbers[tag] = number
        story.tags.setdefault(number, tag)
        story.highest = max(story.highest, number)

    def _learn_row(self, operation: Operation, story: Story, row: Row) -> None:
        story.begun_ns = min(story.begun_ns, operation.completed_ns)
        story.counted = max(story.counted, row.messages)
        if operation.final:
            story.final_rows.add(row)
        if row.title in story.titles:
            story.effects.setdefault(row.title, operation.completed_ns)
        self.sightings.title(story, row.title, describe(operation))
        self._rankings.move(story, row.modified_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a saved history, with the record that was saved beside it. 0 where no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description=main.__doc__)
    parser.add_argument("history", type=Path, help="a JSONL file of operations")
    parser.add_argument("--record", type=Path, help="the rows at the end; by default beside the history")
    parser.add_argument("--evidence", type=int, default=5, help="how many pieces of evidence of each kind")
    options = parser.parse_args(arguments)
    record = read_record(options.record or record_beside(options.history))
    verdict = check(read_history(options.history), record)
    sys.stdout.write(verdict.text(options.evidence) + "\n")
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())

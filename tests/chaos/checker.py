"""Check a history against the promises: `python -m tests.chaos.checker HISTORY.jsonl`."""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.agreement import check_agreement
from tests.chaos.ending import check_record
from tests.chaos.facts import Facts, Story, gather
from tests.chaos.history import (
    APPENDS,
    LISTS,
    READS,
    WRITES,
    Kind,
    Message,
    Operation,
    Outcome,
    Row,
    read_history,
)
from tests.chaos.lists import Rankings, check_list, check_row
from tests.chaos.losses import Loss, losses_beside, read_losses
from tests.chaos.pardon import Window, forget, rows_by_id, settle, windows_of
from tests.chaos.reads import check_appended, check_firm, check_messages, check_subject, describe
from tests.chaos.sightings import Sightings
from tests.chaos.stored import Record, read_record, record_beside
from tests.chaos.verdict import Verdict, Violation

# Not about what was asked for: too many at once.
NO_JUDGEMENT: Final = (429,)
AWAY: Final = 503


def check(operations: Sequence[Operation], record: Record, losses: Sequence[Loss] = ()) -> Verdict:
    """All that `operations` (final reads among them) and the `record` at the end prove to be broken.

    Claims only what the order of real time allows: what overlaps may have happened in either order, and what
    is unknown at any time after it was asked for, or never. `losses` are what Redis was made to lose.
    """
    sweep = _Sweep(gather(operations), record, losses)
    for at_ns, operation, completed in _moments(operations):
        sweep.turn(at_ns)
        if completed:
            sweep.learn(operation)
        else:
            sweep.check(operation)
    sweep.turn(math.inf)
    verdict = sweep.verdict
    check_record(record, sweep.facts, sweep.sightings, verdict)
    check_agreement(operations, record, verdict)
    sweep.sightings.judge()
    verdict.operations = len(operations)
    verdict.events = sum(operation.ok and operation.kind in WRITES for operation in operations)
    verdict.messages = sum(sent.acknowledged for sent in sweep.facts.sent.values())
    verdict.unknown = sum(operation.outcome is Outcome.UNKNOWN for operation in operations)
    return verdict


def _moments(operations: Sequence[Operation]) -> Iterator[tuple[int, Operation, bool]]:
    """Each operation when it began and (True) when it ended, in the order of time; a tie proves nothing, so
    there what begins comes first."""
    moments = [(operation.invoked_ns, False, i) for i, operation in enumerate(operations)]
    moments += [(operation.completed_ns, True, i) for i, operation in enumerate(operations)]
    for at_ns, completed, i in sorted(moments):
        yield at_ns, operations[i], completed


class _Sweep:
    """Goes through time. What is known when an operation begins, its reply must show."""

    def __init__(self, facts: Facts, record: Record, losses: Sequence[Loss]) -> None:
        self.facts = facts
        self.verdict = Verdict()
        self.sightings = Sightings(facts, self.verdict)
        self._rankings = Rankings()
        self._record = rows_by_id(record)
        windows = windows_of(losses, facts)
        turns = [(window.killed_ns, False, i) for i, (window, _) in enumerate(windows)]
        turns += [(window.well_ns, True, i) for i, (window, _) in enumerate(windows)]
        self._turns = deque((at, closes, *windows[i]) for at, closes, i in sorted(turns))

    def turn(self, until_ns: float) -> None:
        """Open and close the windows of what Redis lost, up to a moment."""
        while self._turns and self._turns[0][0] <= until_ns:
            _, closes, window, story = self._turns.popleft()
            if closes:
                settle(story, self._record.get(story.id))
            else:
                forget(story, window, self.facts)
                self._rankings.lower(story, window.before_ms, gone=window.vanished)

    def check(self, operation: Operation) -> None:
        """Judge an operation by what was known when it was asked for."""
        for tag in operation.arguments.tags:
            self._note_floor(operation, tag)
        if operation.outcome is Outcome.UNKNOWN:
            self._check_failure(operation)
        elif operation.outcome is Outcome.REFUSED:
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
        window = story.window(operation)
        if story.deleted is None or (window is not None and window.undeleted):
            return False
        text = f"{describe(operation)} found {story.id} after {story.deleted}"
        self.verdict.add(Violation.RESURRECTED, story.id, text)
        return True

    def _check_failure(self, operation: Operation) -> None:
        """What became of it is unknown; but a gateway that answers says so with a 503, and answers whole."""
        if operation.malformed:
            text = f"{describe(operation)} was answered with what is no answer: {operation.error}"
            self.verdict.add(Violation.DISORDERED, operation.id, text)
        elif operation.status not in (None, AWAY):
            text = f"{describe(operation)} was answered with {operation.status}"
            self.verdict.add(Violation.REFUSED, operation.id, text)

    def _check_reply(self, operation: Operation, story: Story) -> None:
        window = story.window(operation)
        check_subject(operation, self.verdict)
        if operation.kind in APPENDS:
            check_appended(operation, self.verdict)
        elif operation.kind in READS and window is not None:
            check_firm(operation, story, window, self.verdict)
        elif operation.kind in READS:
            check_messages(operation, story, self.facts, self.verdict)
        if operation.reply.header is not None and window is None:
            check_row(operation, story, operation.reply.header, self.verdict)

    def _check_row(self, operation: Operation, row: Row) -> None:
        story = self.facts.story(row.conversation, operation.user)
        if story.owner != operation.user:
            text = f"{describe(operation)} shows {operation.user} {story.id}, it is {story.owner}'s"
            self.verdict.add(Violation.CROSS_USER, story.id, text)
        elif not self._resurrected(operation, story) and story.window(operation) is None:
            check_row(operation, story, row, self.verdict)

    def _check_refusal(self, operation: Operation) -> None:
        story = self._story(operation)
        if operation.status in NO_JUDGEMENT:
            return
        if story is not None and story.owner != operation.user:
            if operation.status != 404:
                text = f"{describe(operation)} told {operation.user} of {story.owner}'s {story.id}"
                self.verdict.add(Violation.CROSS_USER, operation.id, f"{text}: {operation.status}, no 404")
            return
        deleting = story is not None and story.may_be_deleted(operation.completed_ns)
        if operation.status == (409 if operation.kind is Kind.CREATE else 404) and story is not None:
            window = story.window(operation)
            if deleting or story.begun_ns >= operation.invoked_ns or (window and window.vanished):
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
        if gone and known and story.may_be_deleted(operation.completed_ns) and not story.window(operation):
            story.deleted = story.deleted or describe(operation)

    def _learn_reply(self, operation: Operation, story: Story) -> None:
        reply, where, window = operation.reply, describe(operation), story.window(operation)
        if operation.kind is Kind.DELETE:
            if window is None or not window.undeleted or operation.invoked_ns > window.dead_ns:
                story.deleted = story.deleted or where
            return
        story.served_finally |= operation.final
        self._learn_messages(operation, story)
        if operation.kind is Kind.RENAME and operation.arguments.title:
            self._learn_rename(operation, story, window, operation.arguments.title)
        if reply.header is not None:
            self._learn_row(operation, story, reply.header)
        if window is None:
            story.begun_ns = min(story.begun_ns, operation.completed_ns)
            self._rankings.move(story, -1 if reply.at_ms is None else reply.at_ms)

    def _learn_messages(self, operation: Operation, story: Story) -> None:
        messages, where, window = operation.reply.messages, describe(operation), story.window(operation)
        self.sightings.together(story, messages, where)
        if operation.kind in APPENDS:
            self.sightings.reply(story, messages, where)
        over = story.is_over(operation)
        for message in messages:
            if message not in story.known:
                story.known.add(message)
                self.sightings.message(story, message, where)
            if window is not None:
                self._float(operation, story, window, message)
                continue
            story.see(message.number, message.tag)
            if over:
                self.sightings.since(story, message, where)

    def _float(self, operation: Operation, story: Story, window: Window, message: Message) -> None:
        """It is there from now on; at which number is known when the window closes."""
        if message.tag in window.numbers and operation.invoked_ns <= window.dead_ns:
            return
        if message.tag not in story.numbers:
            story.afloat.add(message.tag)
            if operation.completed_ns > window.well_ns and message.tag in story.places:
                story.see(story.places[message.tag], message.tag)
        if message.tag in story.lost_tags:
            story.lost_numbers.add(message.number)  # sent again, it may have to give up this one

    def _learn_rename(self, operation: Operation, story: Story, window: Window | None, title: str) -> None:
        # One that is lost may come late, with a version that is higher than this one's.
        if window is None or not window.titles:
            story.renamed[title] = operation.invoked_ns
            story.effects.setdefault(title, operation.completed_ns)

    def _learn_row(self, operation: Operation, story: Story, row: Row) -> None:
        self.sightings.title(story, row.title, describe(operation))
        if operation.final:
            story.final_rows.add(row)
        if story.window(operation) is not None:
            return
        story.begun_ns = min(story.begun_ns, operation.completed_ns)
        story.counted = max(story.counted, row.messages)
        if row.title in story.titles:
            story.effects.setdefault(row.title, operation.completed_ns)
        self._rankings.move(story, row.modified_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a saved history, with the record that was saved beside it. 0 where no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description=main.__doc__)
    parser.add_argument("history", type=Path, help="a JSONL file of operations")
    parser.add_argument("--record", type=Path, help="the rows at the end; by default beside the history")
    parser.add_argument("--evidence", type=int, default=5, help="how many pieces of evidence of each kind")
    options = parser.parse_args(arguments)
    record = read_record(options.record or record_beside(options.history))
    verdict = check(read_history(options.history), record, read_losses(losses_beside(options.history)))
    sys.stdout.write(verdict.text(options.evidence) + "\n")
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""Checks of rows of conversations: a list's, or a single header."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable

from tests.chaos.facts import Facts, Story
from tests.chaos.history import Kind, Operation, Row
from tests.chaos.reads import describe
from tests.chaos.verdict import Verdict, Violation


class Rankings:
    """Each user's conversations by the latest `last_modified` that is known of them: it only ever rises."""

    def __init__(self) -> None:
        self._ranked: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)

    def move(self, story: Story, modified_ms: int) -> None:
        """A conversation is known to be at least this new."""
        if modified_ms <= story.modified_ms:
            return
        ranked = self._ranked[story.owner]
        if story.modified_ms >= 0:
            del ranked[bisect_right(ranked, (story.modified_ms, story.id)) - 1]
        insort(ranked, (modified_ms, story.id))
        story.modified_ms = modified_ms

    def lower(self, story: Story, before_ms: int, *, gone: bool) -> None:
        """Redis lost what was changed from `before_ms` on, or all of it: how new it is is not known."""
        if story.modified_ms < 0 or (story.modified_ms < before_ms and not gone):
            return
        ranked = self._ranked[story.owner]
        del ranked[bisect_right(ranked, (story.modified_ms, story.id)) - 1]
        story.modified_ms = -1
        if not gone:
            self.move(story, 0)

    def above(self, user: str, row: Row | None) -> Iterable[str]:
        """The conversations that stand above a row for certain; all of them without one."""
        ranked = self._ranked[user]
        return (
            id_
            for _, id_ in ranked[bisect_right(ranked, (row.modified_ms, row.conversation)) if row else 0 :]
        )


def check_row(operation: Operation, story: Story, row: Row, verdict: Verdict) -> None:
    """A row is not older than what was known of the conversation."""
    wrong: list[str] = []
    if row.modified_ms < story.modified_ms:
        wrong.append(f"last_modified {row.modified_ms} after {story.modified_ms} was seen")
    least = max(story.counted, story.least)
    if row.messages < least:
        wrong.append(f"message_count {row.messages} where there were {least}")
    effect = story.effects.get(row.title, 2**63) if row.title in story.titles else -1
    if effect < story.renamed_ns:
        wrong.append(f"the title {row.title}, which a later rename had replaced")
    if wrong:
        text = f"{describe(operation)} shows {row.conversation} with {' and '.join(wrong)}"
        verdict.add(Violation.STALE, operation.id, text)


def check_list(operation: Operation, facts: Facts, rankings: Rankings, verdict: Verdict) -> None:
    """Newest first, each once, and all there that must be."""
    rows = operation.reply.rows
    order = [(row.modified_ms, row.conversation) for row in rows]
    # A walk sees its pages at different times: what moves up meanwhile is seen where it was.
    if order != sorted(order, reverse=True):
        verdict.add(Violation.DISORDERED, operation.id, f"{describe(operation)} shows the order {order}")
    shown = {row.conversation for row in rows}
    if len(shown) < len(rows):
        text = f"{describe(operation)} shows a conversation twice: {[row.conversation for row in rows]}"
        verdict.add(Violation.DUPLICATED, operation.id, text)
    most = operation.arguments.limit or operation.arguments.page_size
    if operation.kind is Kind.LIST and most is not None and len(rows) > most:
        text = f"{describe(operation)} shows {len(rows)} conversations"
        verdict.add(Violation.DISORDERED, operation.id, text)
    first = operation.arguments.cursor is None and operation.arguments.page in (None, 1)
    if not first:
        return
    last = rows[-1] if rows and operation.reply.more else None  # without a row, none of them may be missing
    for conversation in rankings.above(operation.user, last):
        story = facts.stories[conversation]
        if conversation not in shown and _must_be_shown(operation, story, whole=last is None):
            _absent(operation, story, verdict)


def _must_be_shown(operation: Operation, story: Story, *, whole: bool) -> bool:
    if story.may_be_deleted(operation.completed_ns):
        return False
    window = story.window(operation)
    if window is not None and (window.vanished or not whole):
        return False
    # One that moves up between two pages of a walk is on neither.
    moving = operation.kind is Kind.WALK and not operation.final
    return not (moving and story.touched(operation.invoked_ns, operation.completed_ns))


def _absent(operation: Operation, story: Story, verdict: Verdict) -> None:
    text = f"{describe(operation)} is without {story.id}, which had been begun"
    if operation.final:
        verdict.add(Violation.LOST, story.id, text)
    else:
        verdict.add(Violation.STALE, operation.id, text)

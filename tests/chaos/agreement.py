"""What is read at the end is what the record has: nothing is under way any more.

The sweep demands of a read only what somebody had been told by then. A message that nobody was told of, and
that came to the record all the same, may be missing from a cache that is read before PostgreSQL is: that is
looked for here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.chaos.history import READS, Kind, Message, Operation
from tests.chaos.reads import describe
from tests.chaos.stored import Record, StoredConversation
from tests.chaos.verdict import Verdict, Violation


def check_agreement(operations: Sequence[Operation], record: Record, verdict: Verdict) -> None:
    """Hold the final reads and walks among `operations` against the record."""
    stored = {conversation.id: conversation for conversation in record.conversations}
    users: dict[str, list[StoredConversation]] = defaultdict(list)
    for conversation in record.conversations:
        users[conversation.user].append(conversation)
    for operation in operations:
        if not operation.final or not operation.ok:
            continue
        if operation.kind is Kind.WALK:
            _check_walk(operation, users[operation.user], verdict)
        elif operation.kind in READS and operation.conversation in stored:
            _check_read(operation, stored[operation.conversation], verdict)


def _check_read(operation: Operation, stored: StoredConversation, verdict: Verdict) -> None:
    if stored.deleted:
        text = f"{describe(operation)} found {stored.id}, which the record has as deleted"
        verdict.add(Violation.RESURRECTED, stored.id, text)
        return
    shown = {message.tag for message in operation.reply.messages}
    missing = [m.tag for m in _asked_for(operation, stored) if m.tag not in shown]
    if any((Violation.LOST, tag) not in verdict.findings for tag in missing):
        text = f"{describe(operation)} is without {missing} of {stored.id}, which the record has"
        verdict.add(Violation.STALE, operation.id, text)


def _asked_for(operation: Operation, stored: StoredConversation) -> Sequence[Message]:
    """Final reads ask for the last messages, or for pages in their order."""
    asked = operation.arguments
    if asked.page is not None and asked.page_size is not None:
        return stored.messages[(asked.page - 1) * asked.page_size : asked.page * asked.page_size]
    return stored.messages[-asked.limit :] if asked.limit else stored.messages


def _check_walk(operation: Operation, stored: Sequence[StoredConversation], verdict: Verdict) -> None:
    rows = {row.conversation: row for row in operation.reply.rows}
    for conversation in stored:
        row = rows.get(conversation.id)
        if conversation.deleted:
            if row is not None:
                text = f"{describe(operation)} shows {conversation.id}, which the record has as deleted"
                verdict.add(Violation.RESURRECTED, conversation.id, text)
        elif row is None:
            if (Violation.LOST, conversation.id) not in verdict.findings:
                text = f"{describe(operation)} is without {conversation.id}, which the record has"
                verdict.add(Violation.STALE, operation.id, text)
        elif row.modified_ms != conversation.modified_ms:
            text = (
                f"{describe(operation)} has {conversation.id} last modified at {row.modified_ms},"
                f" the record at {conversation.modified_ms}"
            )
            verdict.add(Violation.STALE, operation.id, text)

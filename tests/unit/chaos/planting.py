"""A history to begin with, and ways to bend one or its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.history import Message, Operation
from tests.chaos.stored import Record
from tests.chaos.verdict import Verdict, Violation
from tests.unit.chaos.model import BOB, Model


def story(model: Model) -> tuple[str, str]:
    """Two conversations of Alice's, with four and two messages, and one of Bob's."""
    first, second = model.create(), model.create(named=True)
    model.append(first)
    model.append(first, 3)
    model.append(second, 2)
    model.append(model.create(BOB), user=BOB)
    return first, second


def found(verdict: Verdict) -> dict[Violation, int]:
    """The violations that were found, how often."""
    return {violation: count for violation, count in verdict.counts.items() if count}


def change(model: Model, operation: Operation, **fields: Any) -> Operation:
    """Let an operation have been otherwise."""
    changed = replace(operation, **fields)
    model.operations[model.operations.index(operation)] = changed
    return changed


def show(model: Model, operation: Operation, *messages: Message, **fields: Any) -> Operation:
    """Let a read have shown these messages."""
    return change(model, operation, reply=replace(operation.reply, messages=messages, **fields))


def stored(record: Record, conversation: str, **fields: Any) -> Record:
    """Let the record of a conversation be otherwise; counts follow its messages."""
    if "messages" in fields:
        fields.setdefault("count", len(fields["messages"]))
    return Record(tuple(replace(c, **fields) if c.id == conversation else c for c in record.conversations))

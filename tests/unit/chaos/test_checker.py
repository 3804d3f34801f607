"""The checker finds each way to break a promise, finds only that, and finds nothing where none is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import check, main
from tests.chaos.forgiving import forgive
from tests.chaos.history import Message, Operation, Outcome, Reply, read_history, write_history
from tests.chaos.stored import Record, record_beside
from tests.chaos.verdict import Verdict, Violation
from tests.unit.chaos.model import BOB, Fate, Model

Plant = Callable[[Model], Record]


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


def test_a_correct_history_with_unknown_outcomes_breaks_nothing() -> None:
    """What nobody was told of may have happened, later or never."""
    model = Model()
    first, second = story(model)
    model.append(first, 5, fate=Fate.NEVER)
    lost = model.append(first, 2, fate=Fate.LOST_REPLY)
    model.append(first, again=lost)
    model.append(first, again=lost)
    model.append(second, 3, fate=Fate.LOST_REPLY)
    model.rename(first, fate=Fate.NEVER)
    model.rename(first)
    model.rename(second, fate=Fate.LOST_REPLY)
    for limit in (1, 3, 50):
        model.recent(first, limit)
        model.window(first, after=1, limit=limit)
        model.window(first, before=5, limit=limit)
        model.page(first, 2, limit)
        model.page(first, 1, limit, descending=True)
        model.listing(limit=limit)
    model.recent(first, user=BOB)
    model.append(first, user=BOB)
    model.create(fate=Fate.LOST_REPLY)
    model.delete(second, fate=Fate.LOST_REPLY)
    model.recent(second)
    model.listing(walk=True)
    model.finish()

    verdict = check(model.operations, model.record())

    assert found(verdict) == {}, verdict.text()
    assert verdict.messages == 9


def test_overlapping_calls_may_have_happened_in_either_order() -> None:
    """A read that began before an append was acknowledged need not show it; nor are their numbers ordered."""
    model = Model()
    conversation = model.create()
    model.spread = (150, 250)
    reads = [model.recent(conversation)]
    late = model.append(conversation)
    early = model.append(conversation)
    reads.append(model.recent(conversation))
    model.finish()
    change(model, late, invoked_ns=early.invoked_ns + 1)
    show(model, reads[1])

    assert found(check(model.operations, model.record())) == {}


def lost_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    messages = model.kept[first].messages
    return stored(model.record(), first, messages=tuple(messages[:2] + messages[3:]))


def lost_in_a_final_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first, final=True)
    show(model, read, *read.reply.messages[:3])
    return model.record()


def lost_with_its_conversation(model: Model) -> Record:
    first, _ = story(model)
    return Record(tuple(c for c in model.record().conversations if c.id != first))


def lost_after_it_was_only_seen(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    model.recent(first)
    return stored(model.record(), first, messages=tuple(model.kept[first].messages[:4]))


def twice_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    messages = model.kept[first].messages
    again = Message(4, messages[3].tag, "another-id")
    return stored(model.record(), first, messages=(*messages, again), next_number=5)


def twice_in_a_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    show(model, read, *read.reply.messages, Message(4, read.reply.messages[3].tag, "another-id"))
    return model.record()


def one_id_for_two(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.NEVER)
    messages = model.kept[first].messages
    messages.append(Message(4, sent.arguments.tags[0], messages[0].id))
    return model.record()


def twice_by_a_retry(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first)
    again = model.append(first, again=sent)
    show(model, again, Message(5, sent.arguments.tags[0], "another-id"))
    return model.record()


def twice_in_two_conversations(model: Model) -> Record:
    first, second = story(model)
    sent = model.append(first, 1, fate=Fate.LOST_REPLY)
    arguments = replace(sent.arguments, conversation=None)
    change(model, sent, arguments=arguments)
    tag = sent.arguments.tags[0]
    messages = (*model.kept[second].messages, Message(2, tag, "another-id"))
    return stored(model.record(), second, messages=messages, next_number=3)


def twice_in_a_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    rows = (listed.reply.rows[0], *listed.reply.rows)
    change(model, listed, reply=replace(listed.reply, rows=rows))
    return model.record()


def stale_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    show(model, read, *read.reply.messages[:1])
    return model.record()


def stale_full_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first, 2)
    model.append(first)
    change(model, read, invoked_ns=model.now + 50, completed_ns=model.now + 60)
    return model.record()


def stale_window(model: Model) -> Record:
    first, _ = story(model)
    show(model, model.window(first, after=0))
    return model.record()


def stale_page(model: Model) -> Record:
    first, _ = story(model)
    read = model.page(first)
    show(model, read, *read.reply.messages[:1], total=1)
    return model.record()


def backward_read(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    earlier = model.recent(first)
    later = model.recent(first)
    show(model, later, *earlier.reply.messages[:-1])
    return model.record()


def not_found(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    change(model, read, outcome=Outcome.REFUSED, status=404, reply=Reply())
    return model.record()


def stale_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    change(model, listed, reply=replace(listed.reply, rows=listed.reply.rows[1:]))
    return model.record()


def stale_first_page(model: Model) -> Record:
    """The conversation that was changed last is not on top."""
    first, _ = story(model)
    model.rename(first)
    listed, rest = model.listing(limit=1), model.listing(limit=2)
    change(model, listed, reply=replace(listed.reply, rows=rest.reply.rows[1:]))
    return model.record()


def backward_list(model: Model) -> Record:
    """A row from before the last append."""
    first, _ = story(model)
    earlier = model.listing()
    model.append(first)
    later = model.listing()
    change(model, later, reply=earlier.reply)
    return model.record()


def old_title(model: Model) -> Record:
    first, _ = story(model)
    model.rename(first)
    before = model.kept[first].row
    model.rename(first)
    listed = model.listing()
    rows = tuple(
        row._replace(title=before.title) if row.conversation == first else row for row in listed.reply.rows
    )
    change(model, listed, reply=replace(listed.reply, rows=rows))
    return model.record()


def stale_final_title(model: Model) -> Record:
    first, _ = story(model)
    model.listing(walk=True, final=True)
    return stored(model.record(), first, title="another")


def reordered_read(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    a, b, *rest = read.reply.messages
    show(model, read, b, a, *rest)
    return model.record()


def renumbered(model: Model) -> Record:
    first, _ = story(model)
    a, b, c, d = model.kept[first].messages
    swapped = (a, b, c._replace(number=3), d._replace(number=2))
    return stored(model.record(), first, messages=tuple(sorted(swapped)))


def reordered_batch(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, 2)
    a, b = sent.reply.messages
    swapped = (Message(a.number, b.tag, b.id), Message(b.number, a.tag, a.id))
    model.kept[first].messages[-2:] = swapped
    show(model, sent, *swapped)
    return model.record()


def against_real_time(model: Model) -> Record:
    """What was sent later has the lower number."""
    first, _ = story(model)
    a, b = model.append(first), model.append(first)
    change(model, a, invoked_ns=b.invoked_ns, completed_ns=b.completed_ns)
    change(model, b, invoked_ns=a.invoked_ns, completed_ns=a.completed_ns)
    return model.record()


def reused(model: Model) -> Record:
    """Two messages had one number, in a conversation that was then deleted."""
    first, _ = story(model)
    model.append(first, fate=Fate.LOST_REPLY)
    one, other = model.recent(first), model.recent(first)
    sent = model.append(first, fate=Fate.NEVER)
    last = Message(4, sent.arguments.tags[0], "its-id")
    show(model, other, *one.reply.messages[:4], last)
    for read in model.operations[-3:-1]:
        change(model, read, invoked_ns=one.invoked_ns, completed_ns=sent.completed_ns)
    model.delete(first)
    return model.record()


def gap_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    messages = (*model.kept[first].messages[:4], Message(5, sent.arguments.tags[0], "its-id"))
    return stored(model.record(), first, messages=messages, next_number=6)


def gap_in_a_read(model: Model) -> Record:
    """A number that nobody knows is left out, though a higher one is there."""
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    read = model.recent(first)
    skipped = Message(5, sent.arguments.tags[0], read.reply.messages[-1].id)
    show(model, read, *read.reply.messages[:-1], skipped)
    model.delete(first)
    return model.record()


def torn_in_the_record(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, 3, fate=Fate.LOST_REPLY)
    return stored(model.record(), first, messages=tuple(model.kept[first].messages[:6]), next_number=6)


def torn_in_a_read(model: Model) -> Record:
    first, _ = story(model)
    model.append(first, 3, fate=Fate.LOST_REPLY)
    read = model.recent(first)
    show(model, read, *read.reply.messages[:6])
    return model.record()


def read_after_delete(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    deleted = model.delete(first)
    change(model, read, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def append_after_delete(model: Model) -> Record:
    first, _ = story(model)
    sent, deleted = model.append(first), model.delete(first)
    change(model, sent, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def listed_after_delete(model: Model) -> Record:
    first, _ = story(model)
    listed = model.listing()
    deleted = model.delete(first)
    change(model, listed, invoked_ns=deleted.completed_ns + 1, completed_ns=deleted.completed_ns + 2)
    return model.record()


def rows_after_delete(model: Model) -> Record:
    first, _ = story(model)
    messages = tuple(model.kept[first].messages)
    model.delete(first)
    return stored(model.record(), first, messages=messages)


def undecided_delete(model: Model) -> Record:
    """Nobody was told of the delete; it was seen once, and then not."""
    first, _ = story(model)
    kept = model.kept[first]
    messages = list(kept.messages)
    model.delete(first, fate=Fate.LOST_REPLY)
    model.recent(first)
    kept.deleted, kept.messages = False, messages
    model.recent(first)
    kept.deleted, kept.messages = True, []
    return model.record()


def deleted_in_the_record_only(model: Model) -> Record:
    first, _ = story(model)
    model.delete(first, fate=Fate.NEVER)
    model.recent(first, final=True)
    return stored(model.record(), first, deleted=True, messages=())


def anothers_conversation(model: Model) -> Record:
    first, _ = story(model)
    read = model.recent(first)
    change(model, read, user=BOB)
    return model.record()


def anothers_row(model: Model) -> Record:
    story(model)
    alices, bobs = model.listing(), model.listing(BOB)
    rows = (*bobs.reply.rows, alices.reply.rows[0])
    change(model, bobs, reply=replace(bobs.reply, rows=rows))
    return model.record()


def anothers_message(model: Model) -> Record:
    first, _ = story(model)
    (bobs,) = (kept for kept in model.kept.values() if kept.owner == BOB)
    message = bobs.messages[0]._replace(number=4)
    messages = (*model.kept[first].messages, message)
    return stored(model.record(), first, messages=messages, next_number=5)


def unsent(model: Model) -> Record:
    first, _ = story(model)
    messages = (*model.kept[first].messages, Message(4, "!something else", "its-id"))
    return stored(model.record(), first, messages=messages, next_number=5)


def refused_and_there(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.LOST_REPLY)
    change(model, sent, outcome=Outcome.REFUSED, status=429)
    return model.record()


def in_the_wrong_conversation(model: Model) -> Record:
    first, second = story(model)
    sent = model.append(second, fate=Fate.NEVER)
    messages = (*model.kept[first].messages, Message(4, sent.arguments.tags[0], "its-id"))
    return stored(model.record(), first, messages=messages, next_number=5)


def disordered_list(model: Model) -> Record:
    story(model)
    listed = model.listing()
    change(model, listed, reply=replace(listed.reply, rows=listed.reply.rows[::-1]))
    return model.record()


def outside_the_window(model: Model) -> Record:
    first, _ = story(model)
    read = model.window(first, after=1)
    show(model, read, *model.kept[first].messages)
    return model.record()


def refused_without_reason(model: Model) -> Record:
    first, _ = story(model)
    sent = model.append(first, fate=Fate.NEVER)
    change(model, sent, outcome=Outcome.REFUSED, status=409)
    return model.record()


def miscounted(model: Model) -> Record:
    first, _ = story(model)
    return stored(model.record(), first, count=7)


def would_be_reused(model: Model) -> Record:
    first, _ = story(model)
    return stored(model.record(), first, next_number=3)


PLANTED: list[tuple[Plant, Violation, int]] = [
    (lost_in_the_record, Violation.LOST, 1),
    (lost_in_a_final_read, Violation.LOST, 1),
    (lost_with_its_conversation, Violation.LOST, 4),
    (lost_after_it_was_only_seen, Violation.LOST, 1),
    (twice_in_the_record, Violation.DUPLICATED, 1),
    (twice_in_a_read, Violation.DUPLICATED, 1),
    (twice_by_a_retry, Violation.DUPLICATED, 1),
    (twice_in_two_conversations, Violation.DUPLICATED, 1),
    (twice_in_a_list, Violation.DUPLICATED, 1),
    (one_id_for_two, Violation.DUPLICATED, 1),
    (stale_read, Violation.STALE, 1),
    (stale_full_read, Violation.STALE, 1),
    (stale_window, Violation.STALE, 1),
    (stale_page, Violation.STALE, 1),
    (backward_read, Violation.STALE, 1),
    (not_found, Violation.STALE, 1),
    (stale_list, Violation.STALE, 1),
    (stale_first_page, Violation.STALE, 1),
    (backward_list, Violation.STALE, 1),
    (old_title, Violation.STALE, 1),
    (stale_final_title, Violation.STALE, 1),
    (reordered_read, Violation.REORDERED, 1),
    (renumbered, Violation.REORDERED, 2),
    (reordered_batch, Violation.REORDERED, 1),
    (against_real_time, Violation.REORDERED, 1),
    (reused, Violation.REUSED, 1),
    (gap_in_the_record, Violation.GAP, 1),
    (gap_in_a_read, Violation.GAP, 1),
    (torn_in_the_record, Violation.TORN, 1),
    (torn_in_a_read, Violation.TORN, 1),
    (read_after_delete, Violation.RESURRECTED, 1),
    (append_after_delete, Violation.RESURRECTED, 1),
    (listed_after_delete, Violation.RESURRECTED, 1),
    (rows_after_delete, Violation.RESURRECTED, 1),
    (undecided_delete, Violation.RESURRECTED, 1),
    (deleted_in_the_record_only, Violation.RESURRECTED, 1),
    (anothers_conversation, Violation.CROSS_USER, 1),
    (anothers_row, Violation.CROSS_USER, 1),
    (anothers_message, Violation.CROSS_USER, 1),
    (unsent, Violation.UNSENT, 1),
    (refused_and_there, Violation.UNSENT, 1),
    (in_the_wrong_conversation, Violation.UNSENT, 1),
    (disordered_list, Violation.DISORDERED, 1),
    (outside_the_window, Violation.DISORDERED, 1),
    (refused_without_reason, Violation.REFUSED, 1),
    (miscounted, Violation.MISCOUNTED, 1),
    (would_be_reused, Violation.MISCOUNTED, 1),
]


@pytest.mark.parametrize(
    ("plant", "violation", "count"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED]
)
def test_a_planted_violation_is_found_and_nothing_else(
    plant: Plant, violation: Violation, count: int
) -> None:
    """One thing is wrong in each of these histories."""
    model = Model()

    record = plant(model)
    verdict = check(model.operations, record)

    assert found(verdict) == {violation: count}, verdict.text()


def test_every_kind_of_violation_is_planted() -> None:
    """A new kind brings its history."""
    assert {violation for _, violation, _ in PLANTED} == set(Violation)


def test_what_was_acknowledged_in_a_forgiven_window_may_be_gone() -> None:
    """And nothing else: what was there before the window is lost all the same."""
    model = Model()
    first, _ = story(model)
    before = model.now + 50
    model.append(first, 2)
    model.recent(first)
    window = (before, model.now + 50)
    model.now += 1000
    del model.kept[first].messages[4:]
    model.append(first)
    model.finish()

    verdict = check(forgive(model.operations, [window]), model.record())
    assert found(verdict) == {}, verdict.text()
    assert found(check(model.operations, model.record()))

    del model.kept[first].messages[3]
    later = (window[0], model.now + 50)
    verdict = check(forgive(model.operations, [later]), model.record())
    assert verdict.counts[Violation.LOST] == 1


def test_a_saved_history_is_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tests.chaos.checker` says what `check` says, and fails where a promise was broken."""
    model, path = Model(), tmp_path / "history.jsonl"
    record = lost_in_the_record(model)
    model.finish()
    write_history(model.operations, path)
    record.save(record_beside(path))

    assert read_history(path) == model.operations
    assert main([str(path)]) == 1
    assert "lost: 1\n  " in capsys.readouterr().out

    model.record().save(record_beside(path))
    assert main([str(path)]) == 0


def test_the_line_of_a_writer_that_died_is_left_out(tmp_path: Path) -> None:
    """What was written whole before is read."""
    model, path = Model(), tmp_path / "history.jsonl"
    story(model)
    write_history(model.operations, path)
    path.write_bytes(path.read_bytes()[:-5])

    assert read_history(path) == model.operations[:-1]

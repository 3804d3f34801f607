"""The checker finds each way to break a promise, finds only that, and finds nothing where none is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import check, main
from tests.chaos.history import Outcome, Reply, read_history, write_history
from tests.chaos.stored import Record, record_beside
from tests.chaos.verdict import Violation
from tests.unit.chaos import planted_conversations as conversations
from tests.unit.chaos import planted_messages as messages
from tests.unit.chaos.model import BOB, Fate, Model
from tests.unit.chaos.planting import change, found, show, story

Plant = Callable[[Model], Record]


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


PLANTED: list[tuple[Plant, Violation, int]] = [
    (messages.lost_in_the_record, Violation.LOST, 1),
    (messages.lost_in_a_final_read, Violation.LOST, 1),
    (conversations.lost_with_its_conversation, Violation.LOST, 4),
    (messages.lost_after_it_was_only_seen, Violation.LOST, 1),
    (messages.twice_in_the_record, Violation.DUPLICATED, 1),
    (messages.twice_in_a_read, Violation.DUPLICATED, 1),
    (messages.twice_by_a_retry, Violation.DUPLICATED, 1),
    (messages.twice_in_two_conversations, Violation.DUPLICATED, 1),
    (conversations.twice_in_a_list, Violation.DUPLICATED, 1),
    (messages.one_id_for_two, Violation.DUPLICATED, 1),
    (messages.stale_read, Violation.STALE, 1),
    (messages.stale_full_read, Violation.STALE, 1),
    (messages.stale_window, Violation.STALE, 1),
    (messages.stale_page, Violation.STALE, 1),
    (messages.backward_read, Violation.STALE, 1),
    (conversations.not_found, Violation.STALE, 1),
    (conversations.stale_list, Violation.STALE, 1),
    (conversations.stale_first_page, Violation.STALE, 1),
    (conversations.backward_list, Violation.STALE, 1),
    (conversations.old_title, Violation.STALE, 1),
    (conversations.stale_final_title, Violation.STALE, 1),
    (messages.reordered_read, Violation.REORDERED, 1),
    (messages.renumbered, Violation.REORDERED, 2),
    (messages.reordered_batch, Violation.REORDERED, 1),
    (messages.against_real_time, Violation.REORDERED, 1),
    (messages.reused, Violation.REUSED, 1),
    (messages.gap_in_the_record, Violation.GAP, 1),
    (messages.gap_in_a_read, Violation.GAP, 1),
    (messages.torn_in_the_record, Violation.TORN, 1),
    (messages.torn_in_a_read, Violation.TORN, 1),
    (conversations.read_after_delete, Violation.RESURRECTED, 1),
    (conversations.append_after_delete, Violation.RESURRECTED, 1),
    (conversations.listed_after_delete, Violation.RESURRECTED, 1),
    (conversations.rows_after_delete, Violation.RESURRECTED, 1),
    (conversations.undecided_delete, Violation.RESURRECTED, 1),
    (conversations.deleted_in_the_record_only, Violation.RESURRECTED, 1),
    (conversations.anothers_conversation, Violation.CROSS_USER, 1),
    (conversations.anothers_row, Violation.CROSS_USER, 1),
    (messages.anothers_message, Violation.CROSS_USER, 1),
    (messages.unsent, Violation.UNSENT, 1),
    (messages.refused_and_there, Violation.UNSENT, 1),
    (messages.in_the_wrong_conversation, Violation.UNSENT, 1),
    (conversations.disordered_list, Violation.DISORDERED, 1),
    (messages.outside_the_window, Violation.DISORDERED, 1),
    (conversations.refused_without_reason, Violation.REFUSED, 1),
    (messages.under_another_id, Violation.DUPLICATED, 1),
    (messages.missing_at_the_end_and_nobody_was_told, Violation.STALE, 1),
    (messages.missing_from_every_read_and_nobody_was_told, Violation.STALE, 1),
    (messages.of_another_conversation, Violation.DISORDERED, 1),
    (messages.unreadable, Violation.DISORDERED, 1),
    (messages.failed_inside, Violation.REFUSED, 1),
    (conversations.another_refusal_than_for_what_is_not_there, Violation.CROSS_USER, 1),
    (conversations.a_good_token_refused, Violation.REFUSED, 1),
    (conversations.nothing_and_more_to_come, Violation.STALE, 1),
    (conversations.more_than_asked_for, Violation.DISORDERED, 1),
    (conversations.unlisted_at_the_end_and_nobody_was_told, Violation.STALE, 1),
    (conversations.deleted_and_still_listed_at_the_end, Violation.RESURRECTED, 1),
    (conversations.another_time_at_the_end, Violation.STALE, 1),
    (conversations.miscounted, Violation.MISCOUNTED, 1),
    (conversations.would_be_reused, Violation.MISCOUNTED, 1),
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


def test_a_repeat_may_find_its_conversation_deleted_meanwhile() -> None:
    """It names none, and its reply does not either: it is the one that the first call began."""
    model = Model()
    conversation = model.create()
    first = model.operations[-1]
    deleted = model.delete(conversation)
    repeat = replace(
        first,
        id=f"{first.id}r0",
        retry_of=first.id,
        outcome=Outcome.REFUSED,
        status=409,
        reply=Reply(),
        invoked_ns=deleted.completed_ns + 1,
        completed_ns=deleted.completed_ns + 2,
    )
    assert not found(check([*model.operations, repeat], model.record()))


def test_every_kind_of_violation_is_planted() -> None:
    """A new kind brings its history."""
    assert {violation for _, violation, _ in PLANTED} == set(Violation)


def test_a_saved_history_is_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tests.chaos.checker` says what `check` says, and fails where a promise was broken."""
    model, path = Model(), tmp_path / "history.jsonl"
    record = messages.lost_in_the_record(model)
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

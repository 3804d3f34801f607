"""Redis was cut back under load: what only its log had may be gone, and nothing else may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.chaos.checker import check, main
from tests.chaos.history import Message, Operation, Outcome, Reply, write_history
from tests.chaos.losses import Loss, LostEvent, losses_beside, read_losses, save_losses
from tests.chaos.stored import Record, record_beside
from tests.chaos.verdict import Verdict, Violation
from tests.unit.chaos.model import ALICE, BOB, Fate, Kept, Model
from tests.unit.chaos.planting import change, found, show, stored, story


@dataclass
class Cut:
    """A story of Alice's, and a cut that takes something from it. `loss` is what the nemesis wrote down."""

    model: Model = field(default_factory=Model)
    killed_ns: int = 0
    dead_ns: int = 0
    well_ns: int | None = None
    events: list[LostEvent] = field(default_factory=list[LostEvent])

    def __post_init__(self) -> None:
        self.first, self.second = story(self.model)

    @property
    def kept(self) -> Kept:
        """What there is of the first conversation: four messages to begin with."""
        return self.model.kept[self.first]

    def appended(self, count: int = 1) -> Operation:
        """Acknowledged, and only on the log."""
        sent = self.model.append(self.first, count)
        first = self.kept.messages[-count].number
        self.lose("messages.appended", tags=sent.arguments.tags, first=first)
        return sent

    def lose(self, type_: str, **fields: object) -> None:
        """Say that the latest change is lost."""
        lost = LostEvent(type_, ALICE, self.first, self.model.now)
        self.events.append(replace(lost, **fields))  # pyright: ignore[reportArgumentType]

    def strike(self, *, keeping: int = 4) -> None:
        """Redis dies, and comes back with as many messages."""
        self.killed_ns, self.dead_ns = self.model.now + 30, self.model.now + 40
        del self.kept.messages[keeping:]

    def well(self) -> None:
        """Everything that a persister had in its hands is where it stays."""
        self.well_ns = self.model.now + 50

    def verdict(self, record: Record | None = None) -> Verdict:
        loss = Loss(self.killed_ns, self.dead_ns, self.well_ns, 100, tuple(self.events))
        return check(self.model.operations, record or self.model.record(), [loss])


def renumbered(kept: Kept, *messages: Message) -> None:
    """What the conversation has at its end, from number 4 on."""
    kept.messages[4:] = [message._replace(number=4 + i) for i, message in enumerate(messages)]


# What may be.


def only_the_log_had_it(cut: Cut) -> None:
    """Two messages were acknowledged and seen; others get their numbers."""
    cut.appended(2)
    cut.model.recent(cut.first)
    cut.model.listing()
    cut.strike()
    cut.model.recent(cut.first)
    cut.model.append(cut.first)
    cut.well()
    cut.model.append(cut.first, 3)
    cut.model.recent(cut.first)
    cut.model.listing()


def it_comes_late_and_another_moves(cut: Cut) -> None:
    """A persister had read it: the one that was given its number since gets the next, and the one after."""
    late = cut.appended().reply.messages[0]
    cut.strike()
    others = [cut.model.append(cut.first).reply.messages[0] for _ in range(2)]
    cut.model.recent(cut.first)
    renumbered(cut.kept, late, *others)
    cut.well()
    cut.model.recent(cut.first)
    cut.model.append(cut.first)


def it_moves_itself(cut: Cut) -> None:
    """It comes after the one that has its number by now."""
    late = cut.appended().reply.messages[0]
    cut.strike()
    other = cut.model.append(cut.first).reply.messages[0]
    renumbered(cut.kept, other, late)
    cut.well()


def it_is_sent_again(cut: Cut) -> None:
    """Its client was answered, calls again, and gets another number."""
    sent = cut.appended()
    cut.strike()
    cut.model.append(cut.first)
    cut.model.append(cut.first, again=sent)
    cut.well()
    cut.model.append(cut.first, again=sent)


def it_leaves_a_hole(cut: Cut) -> None:
    """The record had the message after it already."""
    model = cut.model
    cut.appended()
    later = model.append(cut.first)
    cut.strike(keeping=6)
    cut.well()
    cut.kept.messages.remove(cut.kept.messages[4])
    read = model.page(cut.first)
    assert [message.number for message in read.reply.messages] == [0, 1, 2, 3, 5]
    assert later.reply.messages[0].number == 5
    change(model, model.page(cut.first, 2, 3), reply=replace(read.reply, messages=read.reply.messages[3:]))
    model.page(cut.first, 1, 2, descending=True)
    cut.kept.messages[4:] = read.reply.messages[4:]


def it_vanishes(cut: Cut) -> None:
    """With its conversation, which nobody else had heard of."""
    model = cut.model
    cut.first = model.create()
    cut.lose("conversation.created", absent=True, title=cut.kept.title)
    cut.appended()
    model.listing()
    cut.strike(keeping=0)
    gone = model.kept.pop(cut.first)
    model.recent(cut.first)
    model.append(cut.first)
    cut.well()
    model.listing()
    model.listing(walk=True)
    gone.deleted = True


def its_delete_is_lost(cut: Cut) -> None:
    """It is there again; then the delete comes late."""
    messages = list(cut.kept.messages)
    cut.model.delete(cut.first)
    cut.lose("conversation.deleted")
    cut.model.recent(cut.first)
    cut.strike()
    cut.kept.deleted, cut.kept.messages = False, messages
    cut.model.recent(cut.first)
    cut.model.listing()
    cut.kept.deleted, cut.kept.messages = True, []
    cut.well()
    cut.model.recent(cut.first)


def its_title_is_lost(cut: Cut) -> None:
    """The one before is shown."""
    cut.model.rename(cut.first)
    before = cut.kept.title
    lost = cut.model.rename(cut.first)
    cut.lose("conversation.updated", title=lost.arguments.title)
    cut.model.listing()
    cut.strike()
    cut.kept.title, cut.kept.modified_ms = before, cut.model.now - 300
    cut.model.listing()
    cut.well()
    cut.model.listing()


RIGHT = [
    only_the_log_had_it,
    it_comes_late_and_another_moves,
    it_moves_itself,
    it_is_sent_again,
    it_leaves_a_hole,
    it_vanishes,
    its_delete_is_lost,
    its_title_is_lost,
]


@pytest.mark.parametrize("happens", RIGHT)
def test_what_only_the_log_had_is_excused(happens: Callable[[Cut], None]) -> None:
    """None of it breaks a promise; but for the loss, each would."""
    cut = Cut()
    happens(cut)
    if happens is not it_leaves_a_hole:
        cut.model.finish()
    record = cut.model.record()
    if happens is it_leaves_a_hole:
        record = stored(record, cut.first, next_number=6)

    verdict = cut.verdict(record)

    assert found(verdict) == {}, verdict.text()
    assert found(check(cut.model.operations, record))


# What may not be.


def the_record_had_it(cut: Cut) -> Record:
    cut.appended()
    cut.strike(keeping=3)
    cut.well()
    return cut.model.record()


def a_read_in_the_window_is_without_what_the_record_had(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    read = cut.model.recent(cut.first)
    show(cut.model, read, *read.reply.messages[:3])
    cut.well()
    return cut.model.record()


def a_whole_page_in_the_window_is_without_what_the_record_had(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    read = cut.model.page(cut.first)
    show(cut.model, read, *read.reply.messages[:3])
    cut.well()
    return cut.model.record()


def what_is_answered_in_the_window_is_lost(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    cut.model.append(cut.first)
    cut.well()
    del cut.kept.messages[4:]
    return cut.model.record()


def what_came_late_is_lost_again(cut: Cut) -> Record:
    late = cut.appended().reply.messages[0]
    cut.strike()
    renumbered(cut.kept, late)
    cut.model.recent(cut.first)
    cut.well()
    del cut.kept.messages[4:]
    return cut.model.record()


def a_conversation_that_lost_nothing_loses_something(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    cut.model.append(cut.second)
    cut.well()
    del cut.model.kept[cut.second].messages[2:]
    return cut.model.record()


def a_message_moves_that_met_nobody(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    one, other = (cut.model.append(cut.first).reply.messages[0] for _ in range(2))
    renumbered(cut.kept, other, one)
    cut.well()
    return cut.model.record()


def a_message_moves_that_the_record_had(cut: Cut) -> Record:
    late = cut.appended().reply.messages[0]
    cut.strike()
    cut.kept.messages[3:] = [late._replace(number=3), cut.kept.messages[3]._replace(number=4)]
    cut.well()
    return cut.model.record()


def one_number_for_two_at_the_end(cut: Cut) -> Record:
    late = cut.appended().reply.messages[0]
    cut.strike()
    cut.model.append(cut.first)
    cut.well()
    cut.model.recent(cut.first)
    renumbered(cut.kept, late, cut.kept.messages[4])
    return cut.model.record()


def a_list_goes_back_after_the_window(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    cut.well()
    cut.model.append(cut.first)
    read = cut.model.recent(cut.first)
    show(cut.model, read, *read.reply.messages[:4])
    return cut.model.record()


def a_row_goes_back_after_the_window(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    cut.well()
    cut.model.append(cut.first)
    earlier = cut.model.listing()
    cut.model.append(cut.first)
    change(cut.model, cut.model.listing(), reply=earlier.reply)
    return cut.model.record()


def a_delete_that_was_not_lost_is_undone(cut: Cut) -> Record:
    messages = list(cut.kept.messages)
    cut.appended()
    cut.model.delete(cut.first)
    cut.strike(keeping=0)
    cut.kept.deleted, cut.kept.messages = False, messages
    cut.model.recent(cut.first)
    cut.kept.deleted, cut.kept.messages = True, []
    cut.well()
    return cut.model.record()


def a_delete_in_the_window_is_undone(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    messages = list(cut.kept.messages)
    cut.model.delete(cut.first)
    cut.kept.deleted, cut.kept.messages = False, messages
    cut.model.recent(cut.first)
    cut.kept.deleted, cut.kept.messages = True, []
    cut.well()
    return cut.model.record()


def a_conversation_is_not_found_in_the_window(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    read = cut.model.recent(cut.first)
    change(cut.model, read, outcome=Outcome.REFUSED, status=404, reply=Reply())
    cut.well()
    return cut.model.record()


def a_list_in_the_window_is_without_it(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    listed = cut.model.listing()
    rows = tuple(row for row in listed.reply.rows if row.conversation != cut.first)
    change(cut.model, listed, reply=replace(listed.reply, rows=rows))
    cut.well()
    return cut.model.record()


def another_user_sees_it(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    change(cut.model, cut.model.recent(cut.first), user=BOB)
    cut.well()
    return cut.model.record()


def a_part_of_the_batch_is_lost(cut: Cut) -> Record:
    whole = cut.appended(3).reply.messages
    cut.strike()
    renumbered(cut.kept, *whole[:2])
    cut.well()
    return cut.model.record()


def a_hole_where_nothing_was_lost(cut: Cut) -> Record:
    cut.appended()
    cut.strike()
    cut.well()
    sent = cut.model.append(cut.first, fate=Fate.LOST_REPLY)
    there = (*cut.kept.messages[:4], Message(6, sent.arguments.tags[0], "its-id"))
    return stored(cut.model.record(), cut.first, messages=there, next_number=7)


def it_is_twice(cut: Cut) -> Record:
    late = cut.appended().reply.messages[0]
    cut.strike()
    renumbered(cut.kept, late, late)
    cut.well()
    return cut.model.record()


WRONG: list[tuple[Callable[[Cut], Record], Violation, int]] = [
    (the_record_had_it, Violation.LOST, 1),
    (a_read_in_the_window_is_without_what_the_record_had, Violation.STALE, 1),
    (a_whole_page_in_the_window_is_without_what_the_record_had, Violation.STALE, 1),
    (what_is_answered_in_the_window_is_lost, Violation.LOST, 1),
    (what_came_late_is_lost_again, Violation.LOST, 1),
    (a_conversation_that_lost_nothing_loses_something, Violation.LOST, 1),
    (a_message_moves_that_met_nobody, Violation.REORDERED, 2),
    (a_message_moves_that_the_record_had, Violation.REORDERED, 1),
    (one_number_for_two_at_the_end, Violation.REORDERED, 1),
    (a_list_goes_back_after_the_window, Violation.STALE, 1),
    (a_row_goes_back_after_the_window, Violation.STALE, 1),
    (a_delete_that_was_not_lost_is_undone, Violation.RESURRECTED, 1),
    (a_delete_in_the_window_is_undone, Violation.RESURRECTED, 1),
    (a_conversation_is_not_found_in_the_window, Violation.STALE, 1),
    (a_list_in_the_window_is_without_it, Violation.STALE, 1),
    (another_user_sees_it, Violation.CROSS_USER, 1),
    (a_part_of_the_batch_is_lost, Violation.TORN, 1),
    (a_hole_where_nothing_was_lost, Violation.GAP, 1),
    (it_is_twice, Violation.DUPLICATED, 1),
]


@pytest.mark.parametrize(
    ("happens", "violation", "count"), WRONG, ids=[plant.__name__ for plant, _, _ in WRONG]
)
def test_what_the_record_had_or_came_since_is_not(
    happens: Callable[[Cut], Record], violation: Violation, count: int
) -> None:
    """One thing is wrong in each of these, though something was rightly lost beside it."""
    cut = Cut()

    verdict = cut.verdict(happens(cut))

    assert found(verdict) == {violation: count}, verdict.text()


def test_a_saved_history_is_checked_again_with_its_losses(tmp_path: Path) -> None:
    """They lie beside it, as its record does."""
    cut, path = Cut(), tmp_path / "history.jsonl"
    only_the_log_had_it(cut)
    write_history(cut.model.operations, path)
    cut.model.record().save(record_beside(path))
    assert main([str(path)]) == 1

    loss = Loss(cut.killed_ns, cut.dead_ns, cut.well_ns, 100, tuple(cut.events))
    save_losses([loss], losses_beside(path))
    assert read_losses(losses_beside(path)) == [loss]
    assert main([str(path)]) == 0

"""What a process put on the log and does not know to be in the record."""

from __future__ import annotations

from collections.abc import Callable

from common.authority.unsettled import Unsettled
from common.domain.ids import ConversationId, Position, UserId, position_order
from common.postgres.authority import Proof

ALICE = UserId("alice")
A, B = (ConversationId(f"00000000-0000-4000-8000-00000000000{n}") for n in range(2))
MESSAGE = Proof("message", 3)


def unsettled() -> Unsettled:
    return Unsettled(lambda _: 0)


def below(position: str) -> Callable[[Position], bool]:
    """As a log answers, of which all up to `position` is in the record."""
    return lambda p: position_order(p) <= position_order(Position(position))


def landed(notes: Unsettled, conversation: ConversationId, position: str | None) -> None:
    notes.landed(notes.begin((ALICE, conversation)), Position(position) if position else None, MESSAGE)


def test_a_change_that_is_under_way_counts_as_unsettled() -> None:
    """It may be on the log before its reply is here."""
    notes = unsettled()
    notes.begin((ALICE, A))
    notes.settle(0, below("9-0"))
    assert notes.addresses() == [(ALICE, A)]


def test_a_change_that_was_refused_leaves_no_trail() -> None:
    notes = unsettled()
    notes.nothing(notes.begin((ALICE, A)))
    assert not notes.addresses()


def test_a_conversation_is_settled_with_its_latest_event() -> None:
    notes = unsettled()
    landed(notes, A, "5-0")
    landed(notes, A, "7-0")
    notes.settle(0, below("6-0"))
    assert notes.addresses() == [(ALICE, A)]
    notes.settle(0, below("7-0"))
    assert not notes.addresses()


def test_what_is_settled_is_forgotten_whoever_is_in_front() -> None:
    """A conversation with a change under way does not keep those behind it from being forgotten."""
    notes = unsettled()
    notes.begin((ALICE, A))
    landed(notes, B, "5-0")
    notes.settle(0, below("5-0"))
    assert notes.addresses() == [(ALICE, A)]


def test_a_change_whose_reply_was_lost_is_bounded_by_the_log_s_end() -> None:
    """Nobody knows its position; what the log's end is later, is above it."""
    notes = unsettled()
    notes.unknown(notes.begin((ALICE, A)))
    notes.settle(0, below("9-0"))
    assert notes.addresses() == [(ALICE, A)]

    notes.bound(notes.loose(0), Position("8-0"))
    notes.settle(0, below("7-0"))
    assert notes.addresses() == [(ALICE, A)]
    notes.settle(0, below("8-0"))
    assert not notes.addresses()


def test_an_empty_log_settles_a_lost_reply() -> None:
    notes = unsettled()
    notes.unknown(notes.begin((ALICE, A)))
    notes.bound(notes.loose(0), None)
    assert not notes.addresses()


def test_only_a_trail_without_unknowns_can_be_proven() -> None:
    """A row in the record shows that the known events are there; it says nothing of a lost reply."""
    notes = unsettled()
    landed(notes, A, "5-0")
    landed(notes, B, "6-0")
    notes.unknown(notes.begin((ALICE, B)))
    notes.bound(notes.loose(0), Position("7-0"))
    assert [trail.address for trail in notes.provable()] == [(ALICE, A)]


def test_a_create_has_no_position_but_can_be_proven() -> None:
    notes = unsettled()
    landed(notes, A, None)
    notes.settle(0, below("9-0"))
    assert [trail.proofs for trail in notes.provable()] == [[MESSAGE]]

"""Ids, positions and times."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.ids import (
    Position,
    derived_id,
    isoformat_ms,
    new_conversation_id,
    new_message_id,
    parse_conversation_id,
    parse_user_id,
    position_order,
)
from common.domain.messages import parse_timestamp
from tests.events import TIMES_MS


def test_fresh_ids_are_never_the_same_and_sort_by_time() -> None:
    """UUIDv7: later ones stand behind earlier ones in an index."""
    ids = [new_conversation_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert UUID(new_message_id()).version == 7


def test_a_derived_id_is_the_same_for_ever() -> None:
    """It is how a retry or a second import finds what the first one made: this value must never change."""
    assert derived_id("alice", "c-1", "0") == "a7cac909-1778-53df-bd53-48dee9bf7b51"


def test_derived_ids_tell_their_parts_apart() -> None:
    """Joined text would be the same for both."""
    assert derived_id("a", "b") != derived_id("ab")
    assert derived_id("a", "bc") != derived_id("ab", "c")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c", "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"),
        ("0193A7C2-6B1E-7CC3-9D0A-3F1F8A4A5B6C", "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"),
        ("0193a7c26b1e7cc39d0a3f1f8a4a5b6c", None),
        ("{0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c}", None),
        ("0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c\n", None),
        ("\uff10193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c", None),
        ("", None),
    ],
)
def test_a_conversation_id_has_one_spelling(text: str, canonical: str | None) -> None:
    """Two spellings of one UUID must not become two conversations."""
    assert parse_conversation_id(text) == canonical


@pytest.mark.parametrize("user", ["alice@example.com", "ünï cödé", "a" * 200, "{}:*", "😀"])
def test_user_ids_are_text(user: str) -> None:
    """Whatever the identity provider calls its users."""
    assert parse_user_id(user) == user


@pytest.mark.parametrize("user", ["", "a" * 201, "a\nb", "a\0b", "\ud800", None, 5, b"alice"])
def test_what_is_no_user_id(user: object) -> None:
    """What one of the stores or a log line could not keep."""
    assert parse_user_id(user) is None


def test_positions_sort_as_the_log_does() -> None:
    """As text, 9-1 would follow 10-0 and 1-10 precede 1-9."""
    ordered = ["9-1", "10-0", "10-2", "10-10", "1760000000000-0"]
    assert sorted(sorted(ordered), key=lambda text: position_order(Position(text))) == ordered


@given(TIMES_MS)
def test_a_time_survives_being_written(milliseconds: int) -> None:
    """To the millisecond, in every year that can be written."""
    assert round(parse_timestamp(isoformat_ms(milliseconds)).timestamp() * 1000) == milliseconds


@given(st.text())
def test_any_text_is_a_conversation_id_or_not(text: str) -> None:
    """Nothing a client puts into a path makes an error."""
    assert parse_conversation_id(text) is None or len(text) == 36

"""A conversation's header, as it is stored in an event and as a client sees it."""

from __future__ import annotations

from hypothesis import given
from pydantic_core import from_json

from common.domain.conversations import Header, State, finish_summary, metadata_json
from common.domain.ids import ConversationId
from tests.events import OBJECTS, STATES

ID = ConversationId("0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c")


def header(state: State) -> Header:
    """A conversation of three messages."""
    return Header(ID, state, 1_760_000_000_123, 4, 3, 'He said "hi"', version=5)


@given(STATES)
def test_a_state_is_one_json_object(state: State) -> None:
    """Any title, and metadata as they were sent."""
    assert from_json(state.to_json()) == {
        "title": state.title,
        "model": state.model,
        "created_at": state.created_at,
        "metadata": from_json(state.metadata),
    }


@given(STATES)
def test_a_conversation_as_its_owner_sees_it(state: State) -> None:
    """The row of the list, with metadata; nothing of our clocks."""
    row = {
        "conversation_id": ID,
        "title": state.title,
        "model": state.model,
        "created_at": state.created_at,
        "message_count": 3,
        "preview": 'He said "hi"',
        "last_modified": "2025-10-09T08:53:20.123Z",
    }
    shown = header(state)
    assert from_json(finish_summary(shown.summary(), shown.last_modified_ms)) == row
    assert from_json(shown.served()) == row | {"metadata": from_json(state.metadata)}


@given(OBJECTS)
def test_metadata_come_back_as_they_were_sent(metadata: dict[str, object]) -> None:
    """None is the empty object, so that readers need not ask."""
    assert from_json(metadata_json(metadata)) == metadata
    assert metadata_json(None) == b"{}"


def test_conversations_of_one_moment_have_an_order_too() -> None:
    """By id, so that a page never repeats or skips one."""
    state = State(None, None, b"{}", "2026-01-01T00:00:00Z")
    one = header(state)
    other = Header(ConversationId("ff" + ID[2:]), state, one.last_modified_ms, 0, 0, None, version=1)
    assert sorted([other, one], key=lambda h: h.order) == [one, other]

"""Hypothesis strategies: every kind of event, with messages that hold anything JSON can say."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pydantic_core import to_json

from common.domain.conversations import State
from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationTruncated,
    ConversationUpdated,
    MessageBody,
    MessageDeleted,
    MessageEdited,
    MessagesAppended,
    QueryLogged,
)
from common.domain.ids import isoformat_ms
from common.domain.messages import BIGINT_MAX

# Everything that the gateway lets in: no NUL, no half of a surrogate pair, no NaN.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=5)
COUNTERS = st.integers(0, BIGINT_MAX)
TIMES_MS = st.integers(0, 253_402_300_799_999)

STATES = st.builds(
    State,
    title=st.none() | TEXT,
    model=st.none() | TEXT,
    metadata=OBJECTS.map(to_json),
    created_at=TIMES_MS.map(isoformat_ms),
)


@st.composite
def bodies(draw: st.DrawFn) -> MessageBody:
    """A message body: whatever else it holds, it has an id."""
    fields: dict[str, Any] = draw(OBJECTS) | {"id": draw(NAMES)}
    return MessageBody(to_json(fields))


_ABOUT = {"user_id": NAMES, "at_ms": TIMES_MS}
_OF_ONE = {**_ABOUT, "conversation_id": st.uuids().map(str), "version": COUNTERS, "epoch": COUNTERS}
_WHICH = {**_OF_ONE, "message_id": NAMES, "sequence_number": COUNTERS}

CREATED = st.builds(ConversationCreated, state=STATES, **_OF_ONE)
UPDATED = st.builds(ConversationUpdated, state=STATES, **_OF_ONE)
DELETED = st.builds(ConversationDeleted, **_OF_ONE)
APPENDED = st.builds(
    MessagesAppended,
    first_sequence_number=COUNTERS,
    bodies=st.lists(bodies(), min_size=1, max_size=4).map(tuple),
    **_OF_ONE,
)
EDITED = st.builds(MessageEdited, body=bodies(), **_WHICH)
MESSAGE_DELETED = st.builds(MessageDeleted, **_WHICH)
TRUNCATED = st.builds(
    ConversationTruncated,
    after_sequence_number=st.integers(-1, BIGINT_MAX),
    next_sequence_number=COUNTERS,
    **_OF_ONE,
)
LOGGED = st.builds(
    QueryLogged, log_id=NAMES, log=OBJECTS, **_ABOUT, conversation_id=st.none() | st.uuids().map(str)
)

EVENTS = st.one_of(CREATED, UPDATED, DELETED, APPENDED, EDITED, MESSAGE_DELETED, TRUNCATED, LOGGED)

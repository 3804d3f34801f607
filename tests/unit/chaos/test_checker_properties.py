"""No correct history is found fault with, however its calls overlap; no broken one passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.chaos.checker import check
from tests.chaos.history import Kind, Message
from tests.chaos.stored import Record, StoredConversation
from tests.chaos.verdict import Violation
from tests.unit.chaos.model import ALICE, BOB, STEP, Fate, Model

Draw = Callable[[st.SearchStrategy[Any]], Any]
FATES = st.sampled_from([Fate.DONE, Fate.DONE, Fate.DONE, Fate.LOST_REPLY, Fate.NEVER])
USERS = st.sampled_from([ALICE, ALICE, ALICE, BOB])
SPREADS = st.tuples(st.integers(0, 4 * STEP), st.integers(0, 4 * STEP))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A run of calls on a few conversations, each overlapping with some of the others."""
    model = Model()
    conversations = [model.create(), model.create(BOB)]
    for _ in range(draw(st.integers(1, 40))):
        model.spread = draw(SPREADS)
        act = draw(st.sampled_from(ACTIONS))
        act(draw, model, conversations)
    model.spread = (10, 10)
    model.finish()
    return model


def _create(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    conversations.append(model.create(draw(USERS), named=draw(st.booleans()), fate=draw(FATES)))


def _append(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    count, fate = draw(st.integers(1, 4)), draw(FATES)
    model.append(draw(st.sampled_from(conversations)), count, user=draw(USERS), fate=fate)


def _append_again(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    appends = [o for o in model.operations if o.kind is Kind.APPEND and o.outcome == "unknown"]
    if appends:
        first = draw(st.sampled_from(appends))
        model.append(str(first.conversation), user=first.user, fate=draw(FATES), again=first)


def _rename(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    model.rename(draw(st.sampled_from(conversations)), user=draw(USERS), fate=draw(FATES))


def _delete(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    model.delete(draw(st.sampled_from(conversations)), user=draw(USERS), fate=draw(FATES))


def _recent(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    model.recent(draw(st.sampled_from(conversations)), draw(st.integers(1, 10)), user=draw(USERS))


def _window(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    bounds = st.one_of(st.none(), st.integers(-1, 12))
    model.window(
        draw(st.sampled_from(conversations)),
        after=draw(bounds),
        before=draw(bounds.filter(lambda bound: bound != -1)),
        limit=draw(st.integers(1, 10)),
        user=draw(USERS),
    )


def _page(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    number, size = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    descending = draw(st.booleans())
    model.page(draw(st.sampled_from(conversations)), number, size, descending=descending, user=draw(USERS))


def _list(draw: st.DrawFn, model: Model, conversations: list[str]) -> None:
    model.listing(draw(USERS), limit=draw(st.integers(1, 4)), walk=draw(st.booleans()))


ACTIONS = [
    _append,
    _append,
    _append,
    _append_again,
    _create,
    _rename,
    _delete,
    _recent,
    _recent,
    _window,
    _page,
    _list,
    _list,
]


@given(models())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_correct_history_is_never_found_fault_with(model: Model) -> None:
    """Whatever overlaps, and whatever nobody was told of."""
    verdict = check(model.operations, model.record())

    assert verdict.clean, verdict.text()


@given(models(), st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_broken_history_never_passes(model: Model, data: st.DataObject) -> None:
    """Something is taken from the record, or put into it, that cannot have come from these calls."""
    record = model.record()
    alive = [c for c in record.conversations if c.messages]
    assume(alive)
    conversation = data.draw(st.sampled_from(alive))
    broken, violation = data.draw(st.sampled_from(BREAKS))(data.draw, conversation)

    kept = [broken if c is conversation else c for c in record.conversations]
    verdict = check(model.operations, Record(tuple(kept)))

    assert verdict.counts[violation], verdict.text()


def _drop(draw: Draw, conversation: StoredConversation) -> tuple[StoredConversation, Violation]:
    """All that is in the record at the end is seen by the final reads: none of it may be missing."""
    gone = draw(st.sampled_from(conversation.messages))
    rest = tuple(message for message in conversation.messages if message != gone)
    return replace(conversation, messages=rest), Violation.LOST


def _double(draw: Draw, conversation: StoredConversation) -> tuple[StoredConversation, Violation]:
    twice = draw(st.sampled_from(conversation.messages))._replace(number=len(conversation.messages))
    return replace(conversation, messages=(*conversation.messages, twice)), Violation.DUPLICATED


def _renumber(draw: Draw, conversation: StoredConversation) -> tuple[StoredConversation, Violation]:
    first, *rest = conversation.messages
    moved = first._replace(number=len(conversation.messages))
    return replace(conversation, messages=(*rest, moved)), Violation.REORDERED


def _smuggle(draw: Draw, conversation: StoredConversation) -> tuple[StoredConversation, Violation]:
    message = Message(len(conversation.messages), "mallory/m.0/0", "its-id")
    return replace(conversation, messages=(*conversation.messages, message)), Violation.CROSS_USER


BREAKS = (_drop, _double, _renumber, _smuggle)

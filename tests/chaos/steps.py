"""From a step of the plan to a request, as things stand when its turn comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import UUID

from tests.chaos import asks
from tests.chaos.asks import Ask
from tests.chaos.history import Kind, Operation
from tests.chaos.plan import Action, Step
from tests.chaos.tags import make_tag

FULL: Final = 250  # messages; a conversation that has them is only read from then on
GROWING: Final = 40  # so many of the newest conversations of a user are appended to

_LISTING: Final = frozenset({Action.LIST, Action.LIST_PAGE})
_BEGINNING: Final = frozenset(
    {
        Action.CREATE,
        Action.CREATE_NAMED,
        Action.CREATE_DELETED,
        Action.SUBMIT_NEW,
        Action.SUBMIT_KEYED,
    }
)
_APPENDING: Final = frozenset(
    {Action.APPEND, Action.APPEND_BATCH, Action.APPEND_NAMED, Action.APPEND_KEYED, Action.SUBMIT}
)
_OF_DELETED: Final = frozenset({Action.READ_DELETED, Action.APPEND_DELETED, Action.CREATE_DELETED})
_OF_FOREIGN: Final = frozenset({Action.READ_FOREIGN, Action.APPEND_FOREIGN})
_OF_ONE: Final = frozenset({Action.APPEND, Action.APPEND_FOREIGN, Action.APPEND_DELETED})


@dataclass
class Shelf:
    """What the clients of one user know of: conversations with their newest number, and deleted ones."""

    user: str
    alive: dict[str, int] = field(default_factory=dict[str, int])
    deleted: dict[str, None] = field(default_factory=dict[str, None])

    def learn(self, operation: Operation) -> None:
        """Take in what a call has told. What a delete was tried on counts as deleted."""
        conversation = operation.conversation
        if conversation is None or conversation in self.deleted:
            return
        if operation.kind is Kind.DELETE:
            self.alive.pop(conversation, None)
            self.deleted[conversation] = None
        elif operation.ok and operation.kind in (Kind.CREATE, Kind.SUBMIT, Kind.APPEND):
            newest = max((message.number for message in operation.reply.messages), default=-1)
            self.alive[conversation] = max(newest, self.alive.get(conversation, -1))


def ask_for(step: Step, id_: str, shelf: Shelf, foreign: Shelf) -> Ask:
    """The request for a step; one that needs a conversation where there is none yet creates one."""
    if step.action in _LISTING:
        return _list(shelf.user, step)
    chosen = _chosen(step, shelf, foreign)
    if chosen is None or step.action in _BEGINNING:
        return _begin(step, id_, shelf.user, chosen)
    if step.action is Action.RENAME:
        return asks.rename(shelf.user, chosen, _title(shelf.user, id_))
    if step.action is Action.DELETE:
        return asks.delete(shelf.user, chosen)
    if step.action in _APPENDING or step.action in (Action.APPEND_DELETED, Action.APPEND_FOREIGN):
        return _append(step, id_, shelf.user, chosen)
    return _read(step, shelf, chosen)


def _chosen(step: Step, shelf: Shelf, foreign: Shelf) -> str | None:
    if step.action in _OF_DELETED:
        return _nth_newest(shelf.deleted, step.conversation)
    if step.action in _OF_FOREIGN:
        return _nth_newest(foreign.alive, step.conversation)
    if step.action in _APPENDING:
        newest = islice(reversed(shelf.alive.items()), GROWING)
        growing = [conversation for conversation, number in newest if number < FULL]
        return _nth_newest(reversed(growing), step.conversation)
    return _nth_newest(shelf.alive, step.conversation)


def _nth_newest(conversations: Iterable[str], share: float) -> str | None:
    known = list(conversations)
    return known[-1 - int(share * len(known))] if known else None


def _begin(step: Step, id_: str, user: str, deleted: str | None) -> Ask:
    title = _title(user, id_)
    if step.action is Action.CREATE_NAMED:
        return asks.create(user, title, conversation=str(UUID(int=step.uuid, version=4)))
    if step.action is Action.CREATE_DELETED and deleted is not None:
        return asks.create(user, title, conversation=deleted)
    if step.action is Action.SUBMIT_NEW:
        return asks.submit(user, None, _tags(step, id_, user), named=step.flag)
    if step.action is Action.SUBMIT_KEYED:
        return asks.submit(user, None, _tags(step, id_, user), named=step.flag, key=_key(id_))
    return asks.create(user, title, key=_key(id_) if step.flag else None)


def _append(step: Step, id_: str, user: str, conversation: str) -> Ask:
    tags = _tags(step, id_, user)
    if step.action is Action.SUBMIT:
        return asks.submit(user, conversation, tags)
    named = step.action is Action.APPEND_NAMED
    key = _key(id_) if step.action is Action.APPEND_KEYED else None
    return asks.append(user, conversation, tags, named=named, key=key)


def _read(step: Step, shelf: Shelf, conversation: str) -> Ask:
    user, place = shelf.user, int(step.place * (shelf.alive.get(conversation, 0) + 2))
    match step.action:
        case Action.WINDOW_AFTER:
            return asks.window(user, conversation, after=place - 1, limit=step.limit)
        case Action.WINDOW_BEFORE:
            return asks.window(user, conversation, before=place, limit=step.limit)
        case Action.PAGE:
            number = 1 + place // step.limit
            return asks.page(user, conversation, number, step.limit, descending=step.flag)
        case Action.WHOLE:
            return asks.page(user, conversation, 1, 500)
        case Action.HEADER:
            return asks.header(user, conversation, step.limit)
        case _:
            return asks.recent(user, conversation, step.limit)


def _list(user: str, step: Step) -> Ask:
    if step.action is Action.LIST:
        return asks.listing(user, limit=step.limit)
    return asks.list_page(user, 1 + int(step.place * 2), step.limit)


def _tags(step: Step, id_: str, user: str) -> list[str]:
    count = 1 if step.action in _OF_ONE else step.size
    return [make_tag(user, id_, index) for index in range(count)]


def _title(user: str, id_: str) -> str:
    return make_tag(user, id_, "t")


def _key(id_: str) -> str:
    return f"key-{id_}"

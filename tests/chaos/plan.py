"""What a client is going to do: drawn from a seed, before anything has answered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """One thing that a client does. `WEIGHTS` says how often."""

    CREATE = "create"
    CREATE_NAMED = "create with an id"
    CREATE_DELETED = "create with a deleted one's id"
    APPEND = "append"
    APPEND_BATCH = "append a batch"
    APPEND_NAMED = "append with message ids"
    APPEND_KEYED = "append with a key"
    APPEND_DELETED = "append to a deleted one"
    APPEND_FOREIGN = "append to another user's"
    SUBMIT = "submit to a conversation"
    SUBMIT_NEW = "submit to a new one"
    SUBMIT_KEYED = "submit to a new one with a key"
    RECENT = "read the last"
    WINDOW_AFTER = "read a window after"
    WINDOW_BEFORE = "read a window before"
    PAGE = "read a page"
    WHOLE = "read the whole"
    HEADER = "read a header"
    READ_DELETED = "read a deleted one"
    READ_FOREIGN = "read another user's"
    LIST = "list"
    LIST_PAGE = "list a page"
    WALK = "list all"
    RENAME = "rename"
    DELETE = "delete"


# About six in ten are changes.
WEIGHTS: Final[dict[Action, float]] = {
    Action.CREATE: 0.5,
    Action.CREATE_NAMED: 0.5,
    Action.CREATE_DELETED: 0.3,
    Action.APPEND: 28,
    Action.APPEND_BATCH: 10,
    Action.APPEND_NAMED: 7,
    Action.APPEND_KEYED: 7,
    Action.APPEND_DELETED: 0.7,
    Action.APPEND_FOREIGN: 0.7,
    Action.SUBMIT: 3,
    Action.SUBMIT_NEW: 0.5,
    Action.SUBMIT_KEYED: 0.5,
    Action.RECENT: 18,
    Action.WINDOW_AFTER: 3,
    Action.WINDOW_BEFORE: 3,
    Action.PAGE: 3,
    Action.WHOLE: 1.5,
    Action.HEADER: 3,
    Action.READ_DELETED: 0.7,
    Action.READ_FOREIGN: 0.7,
    Action.LIST: 4,
    Action.LIST_PAGE: 1.5,
    Action.WALK: 0.5,
    Action.RENAME: 3,
    Action.DELETE: 1,
}
LARGEST_BATCH: Final = 30
HASTY_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """One action and all the chance it needs: shares in 0..1, to be applied to what there is by then."""

    action: Action
    gateway: float
    conversation: float  # 0 is the one begun last
    place: float  # of a window or a page
    size: int  # of a batch: 1 to LARGEST_BATCH
    limit: int
    flag: bool
    hasty: bool  # the client gives up almost at once
    pause: float  # before it, in mean pauses
    uuid: int  # 128 bits


def plan(seed: int, client: int) -> Iterator[Step]:
    """A client's steps, without end: the same for the same seed."""
    chance = random.Random(f"{seed}/{client}")
    actions, weights = list(WEIGHTS), list(WEIGHTS.values())
    while True:
        yield Step(
            action=chance.choices(actions, weights)[0],
            gateway=chance.random(),
            conversation=chance.random() ** 2,
            place=chance.random(),
            size=min(LARGEST_BATCH, 1 + int(chance.expovariate(1 / 4))),
            limit=chance.choice((1, 5, 20, 20, 20, 50, 60, 100)),
            flag=chance.random() < 0.5,
            hasty=chance.random() < HASTY_SHARE,
            pause=chance.expovariate(1),
            uuid=chance.getrandbits(128),
        )

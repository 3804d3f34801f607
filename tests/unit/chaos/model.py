"""A store that keeps every promise, in three dicts, and writes the history that clients of it would write.

Calls take effect one after the other; each began `spread` before its effect and ended `spread` after it, so
that neighbours overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.chaos.history import Arguments, Kind, Message, Operation, Outcome, Reply, Row
from tests.chaos.stored import Record, StoredConversation
from tests.chaos.tags import make_tag

ALICE, BOB = "alice", "bob"
STEP = 100  # ns between two effects


class Fate(Enum):
    """What becomes of a call."""

    DONE = "done and answered"
    LOST_REPLY = "done, and nobody was told"
    NEVER = "nobody was told, and it was not done"


@dataclass
class Kept:
    """One conversation of the model."""

    id: str
    owner: str
    title: str | None
    modified_ms: int
    messages: list[Message] = field(default_factory=list[Message])
    deleted: bool = False

    @property
    def row(self) -> Row:
        return Row(self.id, self.modified_ms, len(self.messages), self.title)


@dataclass
class Model:
    """Call it like the API. `spread` (ns) is how long before and after its effect a call begins and ends."""

    spread: tuple[int, int] = (10, 10)
    operations: list[Operation] = field(default_factory=list[Operation])
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    now: int = 1_000_000
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def create(self, user: str = ALICE, *, named: bool = False, fate: Fate = Fate.DONE) -> str:
        """Begin a conversation; the id is what it got, or would have got."""
        id_, conversation = self._call(), f"conversation-{next(self._ids)}"
        title = make_tag(user, id_, "t")
        asked = Arguments(conversation=conversation if named else None, title=title)
        made = Kept(conversation, user, title, self.now)
        if fate is not Fate.NEVER:
            self.kept[conversation] = made
        self._add(id_, user, Kind.CREATE, asked, Reply(conversation, header=made.row), fate=fate, status=201)
        return conversation

    def append(
        self,
        conversation: str,
        count: int = 1,
        *,
        user: str = ALICE,
        fate: Fate = Fate.DONE,
        again: Operation | None = None,
    ) -> Operation:
        """Append `count` messages, or those of the call `again` once more."""
        id_ = self._call()
        kept = self.kept.get(conversation)
        tags = again.arguments.tags if again else tuple(make_tag(user, id_, index) for index in range(count))
        asked = Arguments(conversation=conversation, tags=tags)
        retry_of = again.id if again else None
        if kept is None or kept.deleted or kept.owner != user:
            return self._refuse(id_, user, Kind.APPEND, asked, fate=fate, retry_of=retry_of)
        there = {message.tag: message for message in kept.messages}
        if fate is not Fate.NEVER:
            for tag in tags:
                if tag not in there:
                    there[tag] = Message(len(kept.messages), tag, f"id-{tag}")
                    kept.messages.append(there[tag])
            kept.modified_ms = max(kept.modified_ms, self.now)
        reply = Reply(conversation, tuple(there[t] for t in tags if t in there), at_ms=kept.modified_ms)
        return self._add(id_, user, Kind.APPEND, asked, reply, fate=fate, status=201, retry_of=retry_of)

    def rename(self, conversation: str, *, user: str = ALICE, fate: Fate = Fate.DONE) -> Operation:
        """Give it a title of its own."""
        id_, kept = self._call(), self.kept.get(conversation)
        asked = Arguments(conversation=conversation, title=make_tag(user, id_, "t"))
        if kept is None or kept.deleted or kept.owner != user:
            return self._refuse(id_, user, Kind.RENAME, asked, fate=fate)
        if fate is not Fate.NEVER:
            kept.title, kept.modified_ms = asked.title, self.now
        return self._add(id_, user, Kind.RENAME, asked, Reply(conversation, header=kept.row), fate=fate)

    def delete(self, conversation: str, *, user: str = ALICE, fate: Fate = Fate.DONE) -> Operation:
        """Delete it."""
        id_, kept = self._call(), self.kept.get(conversation)
        asked = Arguments(conversation=conversation)
        if kept is None or kept.deleted or kept.owner != user:
            return self._refuse(id_, user, Kind.DELETE, asked, fate=fate)
        if fate is not Fate.NEVER:
            kept.deleted, kept.messages = True, []
        return self._add(id_, user, Kind.DELETE, asked, Reply(), fate=fate, status=204)

    def recent(self, conversation: str, limit: int = 20, *, user: str = ALICE, **more: Any) -> Operation:
        """Read the last `limit`."""
        asked = Arguments(conversation=conversation, limit=limit)
        return self._read(Kind.RECENT, asked, user, lambda messages: messages[-limit:], **more)

    def window(
        self,
        conversation: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 20,
        user: str = ALICE,
    ) -> Operation:
        """Read between two numbers."""
        asked = Arguments(conversation=conversation, after=after, before=before, limit=limit)

        def cut(messages: Sequence[Message]) -> Sequence[Message]:
            inside = messages[(after if after is not None else -1) + 1 : before]
            return inside[-limit:] if after is None else inside[:limit]

        return self._read(Kind.WINDOW, asked, user, cut)

    def page(
        self,
        conversation: str,
        number: int = 1,
        size: int = 500,
        *,
        descending: bool = False,
        user: str = ALICE,
        **more: Any,
    ) -> Operation:
        """Read a page."""
        asked = Arguments(conversation=conversation, page=number, page_size=size, descending=descending)
        slice_ = slice((number - 1) * size, number * size)
        return self._read(
            Kind.PAGE,
            asked,
            user,
            lambda messages: (messages[::-1] if descending else messages)[slice_],
            **more,
        )

    def listing(
        self, user: str = ALICE, *, limit: int = 20, walk: bool = False, final: bool = False
    ) -> Operation:
        """List the first `limit`, or all."""
        id_ = self._call()
        rows = [kept.row for kept in self.kept.values() if kept.owner == user and not kept.deleted]
        rows.sort(key=lambda row: (row.modified_ms, row.conversation), reverse=True)
        shown = tuple(rows if walk else rows[:limit])
        kind, asked = (Kind.WALK if walk else Kind.LIST), Arguments(limit=limit)
        reply = Reply(rows=shown, more=len(shown) < len(rows))
        return self._add(id_, user, kind, asked, reply, final=final)

    def finish(self) -> None:
        """What is read at the end, when nothing is under way."""
        self.now += 1_000_000
        for kept in list(self.kept.values()):
            self.recent(kept.id, user=kept.owner, final=True)
            self.page(kept.id, user=kept.owner, final=True)
        for user in {kept.owner for kept in self.kept.values()}:
            self.listing(user, walk=True, final=True)

    def record(self) -> Record:
        """The rows at the end."""
        return Record(
            tuple(
                StoredConversation(
                    kept.owner,
                    kept.id,
                    kept.title,
                    kept.modified_ms,
                    len(kept.messages),
                    len(kept.messages),
                    kept.deleted,
                    tuple(kept.messages),
                )
                for kept in self.kept.values()
            )
        )

    def _read(
        self,
        kind: Kind,
        asked: Arguments,
        user: str,
        cut: Callable[[Sequence[Message]], Sequence[Message]],
        *,
        final: bool = False,
    ) -> Operation:
        id_, kept = self._call(), self.kept.get(asked.conversation or "")
        if kept is None or kept.deleted or kept.owner != user:
            return self._refuse(id_, user, kind, asked, final=final)
        reply = Reply(kept.id, tuple(cut(kept.messages)), total=len(kept.messages))
        return self._add(id_, user, kind, asked, reply, final=final)

    def _call(self) -> str:
        self.now += STEP
        return f"c.{next(self._numbers)}"

    def _refuse(
        self, id_: str, user: str, kind: Kind, asked: Arguments, *, fate: Fate = Fate.DONE, **more: Any
    ) -> Operation:
        return self._add(id_, user, kind, asked, Reply(), fate=fate, status=404, **more)

    def _add(
        self,
        id_: str,
        user: str,
        kind: Kind,
        asked: Arguments,
        reply: Reply,
        *,
        fate: Fate = Fate.DONE,
        status: int = 200,
        **more: Any,
    ) -> Operation:
        before, after = self.spread
        told = fate is Fate.DONE
        if not told:  # given up at any time, before the effect perhaps
            after -= before
        outcome = Outcome.UNKNOWN if not told else Outcome.REFUSED if status == 404 else Outcome.OK
        operation = Operation(
            id_,
            "c",
            "http://gateway",
            user,
            kind,
            asked,
            self.now - before,
            self.now + after,
            outcome,
            status if told else None,
            reply if outcome is Outcome.OK else Reply(),
            **more,
        )
        self.operations.append(operation)
        return operation

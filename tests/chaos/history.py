"""What clients did and what they were told: one line of JSON for each call, in the order of completion."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import orjson


class Kind(StrEnum):
    """What was called. A new kind needs a place in `WRITES` or `READS`, and in the checks that know it."""

    CREATE = "create"
    APPEND = "append"
    SUBMIT = "submit"  # POST /api/conversations/messages
    RENAME = "rename"
    DELETE = "delete"
    RECENT = "recent"  # the last `limit` messages
    WINDOW = "window"  # `after`/`before`
    PAGE = "page"  # `page`/`page_size`
    HEADER = "header"  # GET of one conversation
    LIST = "list"  # one page of the conversations
    WALK = "walk"  # all conversations, cursor after cursor, as one operation


APPENDS: Final = frozenset({Kind.APPEND, Kind.SUBMIT})
WRITES: Final = APPENDS | {Kind.CREATE, Kind.RENAME, Kind.DELETE}
LISTS: Final = frozenset({Kind.LIST, Kind.WALK})
READS: Final = frozenset({Kind.RECENT, Kind.WINDOW, Kind.PAGE, Kind.HEADER})


class Outcome(StrEnum):
    """How a call ended, as far as its caller can know."""

    OK = "ok"
    REFUSED = "refused"  # 4xx: nothing was done
    UNKNOWN = "unknown"  # time-out, cut connection, 5xx: done, not done, or yet to be done


class Message(NamedTuple):
    """A message as a reply or a row shows it. `tag` is in its content and in no other message's."""

    number: int
    tag: str
    id: str


class Row(NamedTuple):
    """A conversation as a list or a header shows it."""

    conversation: str
    modified_ms: int
    messages: int  # how many it has
    title: str | None  # its tag


@dataclass(frozen=True, slots=True)
class Arguments:
    """What was asked; which of these are set depends on the kind."""

    conversation: str | None = None
    tags: tuple[str, ...] = ()  # of the messages that were sent, in their order
    title: str | None = None  # its tag
    key: str | None = None  # Idempotency-Key
    limit: int | None = None
    after: int | None = None
    before: int | None = None
    page: int | None = None
    page_size: int | None = None
    descending: bool = False
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer said, as much of it as is checked."""

    conversation: str | None = None
    messages: tuple[Message, ...] = ()  # in the reply's order
    at_ms: int | None = None  # the time that an append gave its messages
    header: Row | None = None
    rows: tuple[Row, ...] = ()
    total: int | None = None
    more: bool = False  # there is a next cursor, or page


NO_REPLY: Final = Reply()
MALFORMED: Final = "malformed reply"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: who asked what of which gateway, when (monotonic ns, one clock for all), and what came.

    `retry_of` is the id of the first call where this one repeats it (same key, same ids, same body).
    `final` marks reads made after the workload's end, when nothing is under way any more.
    """

    id: str
    client: str
    gateway: str
    user: str
    kind: Kind
    arguments: Arguments
    invoked_ns: int
    completed_ns: int
    outcome: Outcome
    status: int | None = None
    reply: Reply = NO_REPLY
    retry_of: str | None = None
    final: bool = False
    error: str | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether it was acknowledged or answered."""
        return self.outcome is Outcome.OK

    @property
    def malformed(self) -> bool:
        """Whether it was answered with success, and with something that could not be read."""
        return self.error is not None and self.error.startswith(MALFORMED)

    @property
    def conversation(self) -> str | None:
        """The conversation that it was about, from the question or else from the answer."""
        return self.arguments.conversation or self.reply.conversation


class Recorder:
    """Appends operations to a file as they complete. `operations` and `counts` are what it has seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[tuple[Kind, Outcome]] = Counter()
        self.messages = 0  # acknowledged
        self._file = path.open("ab")

    def record(self, operation: Operation) -> None:
        """Add a completed operation."""
        self.counts[operation.kind, operation.outcome] += 1
        if operation.ok and operation.kind in APPENDS and operation.retry_of is None:
            self.messages += len(operation.arguments.tags)
        self._file.write(_line(operation))

    @property
    def events(self) -> int:
        """How many changes were acknowledged."""
        return sum(n for (kind, outcome), n in self.counts.items() if kind in WRITES and outcome == "ok")

    def flush(self) -> None:
        """Let readers of the file see all of it."""
        self._file.flush()

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_history(operations: Iterable[Operation], path: Path) -> None:
    """Save operations as a recorder would."""
    with Recorder(path) as recorder:
        for operation in operations:
            recorder.record(operation)


def read_history(path: Path) -> list[Operation]:
    """All operations of a file. A line that was being written when its writer died is left out."""
    return list(_operations(path))


def _operations(path: Path) -> Iterator[Operation]:
    shared: dict[Message, Message] = {}  # a message is seen many times: kept once
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _operation(orjson.loads(line), shared)


def _line(operation: Operation) -> bytes:
    sparse = _sparse(operation)
    sparse |= {"arguments": _sparse(operation.arguments), "reply": _sparse(operation.reply)}
    return orjson.dumps(sparse, default=tuple, option=orjson.OPT_APPEND_NEWLINE)


def _sparse(value: Operation | Arguments | Reply) -> dict[str, Any]:
    """A dataclass's members without those that have their default."""
    members = ((f.name, f.default, getattr(value, f.name)) for f in fields(value))
    return {name: member for name, default, member in members if member != default}


def _operation(line: dict[str, Any], shared: dict[Message, Message]) -> Operation:
    asked, answered = line.pop("arguments", {}), line.pop("reply", {})
    asked["tags"] = tuple(map(sys.intern, asked.get("tags", ())))
    found = (
        Message(number, sys.intern(tag), sys.intern(id_)) for number, tag, id_ in answered.get("messages", ())
    )
    answered["messages"] = tuple(shared.setdefault(message, message) for message in found)
    answered["rows"] = tuple(Row(*row) for row in answered.get("rows", ()))
    if "header" in answered:
        answered["header"] = Row(*answered["header"])
    kind, outcome = Kind(line.pop("kind")), Outcome(line.pop("outcome"))
    return Operation(
        kind=kind, outcome=outcome, arguments=Arguments(**asked), reply=Reply(**answered), **line
    )

"""What one call of the API is: its route, who may make it, its parameters, bodies and replies.

The same description routes requests (`app.py`) and documents them (`openapi.py`), so that no route
exists undocumented and no documented one is missing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from falcon.asgi import Request
from pydantic import BaseModel

from common.checks.errors import FieldError
from common.domain.errors import MessageNotFound
from common.domain.ids import ConversationId, MessageId, UserId, parse_conversation_id
from common.domain.messages import MAX_ID_CHARS
from common.identity.scopes import Scope
from services.gateway.identity.principal import Principal
from services.gateway.problems import ProblemType, invalid
from services.gateway.queries import Query
from services.gateway.schemas import EXAMPLE_ID
from services.gateway.streaming import Stream

JSON: Final = "application/json"
Q = TypeVar("Q", bound=Query)
_SCOPES: Final = {"GET": Scope.READ, "POST": Scope.PUBLISH}
_NOT_IN_IDS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply: its status, body and own headers. A `stream` is the body in place of `data`, made
    while it is sent."""

    status: int
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = JSON
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[Q]):
    """One request, its user known and its parameters checked.

    `principal`, `conversation_id` and `message_id` raise where the operation is public or its path names
    none.
    """

    req: Request
    query: Q
    caller: Principal | None
    conversation: ConversationId | None
    message: MessageId | None = None

    @property
    def principal(self) -> Principal:
        if self.caller is None:
            raise RuntimeError("a public operation has no user")
        return self.caller

    @property
    def user(self) -> UserId:
        return self.principal.user_id

    @property
    def conversation_id(self) -> ConversationId:
        if self.conversation is None:
            raise RuntimeError("the path names no conversation")
        return self.conversation

    @property
    def message_id(self) -> MessageId:
        if self.message is None:
            raise RuntimeError("the path names no message")
        return self.message


Handler = Callable[[Any, Call[Q]], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Success:
    """One way an operation succeeds: what it means, the body's model, an example, its headers; `texts` are
    examples of other forms that the body may have, by their content type."""

    description: str
    model: type[BaseModel] | None = None
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = JSON
    texts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation takes: the models it may be, with examples by name."""

    models: tuple[type[BaseModel], ...]
    examples: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `path` is a Falcon template; `public` needs no identity. A `{message_id}` may
    have slashes: it is the path's last part.

    A service's token needs `scope`; a user may do everything with what is theirs.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    tag: str
    public: bool
    scope: Scope
    query: type[Query]
    headers: Mapping[str, str]
    body: Body | None
    successes: Mapping[int, Success]
    problems: tuple[ProblemType, ...]


def operation(
    method: str,
    path: str,
    *,
    summary: str,
    tag: str,
    successes: Mapping[int, Success],
    query: type[Q] = Query,
    body: Body | None = None,
    headers: Mapping[str, str] | None = None,
    problems: tuple[ProblemType, ...] = (),
    public: bool = False,
    scope: Scope | None = None,
) -> Callable[[Handler[Q]], Handler[Q]]:
    """Make a resource's method an operation; its docstring becomes the description.

    Without a `scope` a GET needs `read`, a POST `publish`, and what changes or deletes `admin`.
    """

    def mark(handler: Handler[Q]) -> Handler[Q]:
        described = Operation(
            method=method,
            path=path,
            name=getattr(handler, "__name__", ""),
            summary=summary,
            description=inspect.getdoc(handler) or "",
            tag=tag,
            public=public,
            scope=scope or _SCOPES.get(method, Scope.ADMIN),
            query=query,
            headers=headers or {},
            body=body,
            successes=successes,
            problems=problems,
        )
        handler.__dict__["operation"] = described
        return handler

    return mark


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation and the method that carries it out."""

    operation: Operation
    handler: Callable[[Call[Any]], Awaitable[Reply]]


def operations_of(resources: Iterable[object]) -> list[Bound]:
    """Every operation of `resources`, in the order they are written."""
    found: list[Bound] = []
    for resource in resources:
        for name, member in vars(type(resource)).items():
            described = getattr(member, "operation", None)
            if isinstance(described, Operation):
                found.append(Bound(described, getattr(resource, name)))
    return found


def path_conversation(text: str) -> ConversationId:
    """The conversation that a path or a body names. Raises Problem (422) for what is no UUID."""
    parsed = parse_conversation_id(text)
    if parsed is None:
        raise invalid(FieldError("conversation_id", f"must be a UUID such as {EXAMPLE_ID}"))
    return parsed


def path_message(text: str) -> MessageId:
    """The message that a path names. Raises MessageNotFound for what no message can have for an id."""
    if not 1 <= len(text) <= MAX_ID_CHARS or _NOT_IN_IDS.search(text):
        raise MessageNotFound(text)
    return MessageId(text)

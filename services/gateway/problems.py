"""Every error a client can get, as an RFC 9457 problem. The one table from failures to replies.

`errors` names what is wrong in the caller's terms: a field (`messages.3.role`), a query parameter or a
header. Nothing of ours (stack traces, statements, addresses) is ever in a reply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import falcon
from pydantic_core import to_json

from common.checks.errors import FieldError, Invalid, NotJson
from common.domain.errors import (
    Busy,
    ConversationDeleted,
    ConversationNotFound,
    IdempotencyKeyConflict,
    InvalidCursor,
    InvalidSearch,
    MessageIdConflict,
    MessageNotFound,
    MessageRemoved,
    Overloaded,
    TurnlogError,
)
from common.postgres.authority import AwaitsLog

CONTENT_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: its status, its stable name and a title for people."""

    status: int
    name: str
    title: str

    @property
    def uri(self) -> str:
        """The `type` member."""
        return f"urn:turnlog:problem:{self.name}"


BAD_REQUEST = ProblemType(400, "bad-request", "The request is not understood")
NOT_JSON = ProblemType(400, "not-json", "The body is not JSON")
UNAUTHENTICATED = ProblemType(401, "unauthenticated", "Who you are is not known")
FORBIDDEN = ProblemType(403, "forbidden", "You may not do this")
NOT_FOUND = ProblemType(404, "not-found", "There is nothing here")
CONVERSATION_NOT_FOUND = ProblemType(404, "conversation-not-found", "There is no such conversation")
MESSAGE_NOT_FOUND = ProblemType(404, "message-not-found", "There is no such message")
METHOD_NOT_ALLOWED = ProblemType(405, "method-not-allowed", "That method does not work here")
MESSAGE_ID_CONFLICT = ProblemType(409, "message-id-conflict", "The message id is taken")
MESSAGE_DELETED = ProblemType(409, "message-deleted", "The message was deleted")
CONVERSATION_DELETED = ProblemType(409, "conversation-deleted", "The conversation was deleted")
TOO_LARGE = ProblemType(413, "content-too-large", "The body is too large")
UNSUPPORTED_MEDIA_TYPE = ProblemType(415, "unsupported-media-type", "The body must be JSON")
INVALID = ProblemType(422, "invalid-request", "The request is not valid")
IDEMPOTENCY_KEY_CONFLICT = ProblemType(
    422, "idempotency-key-conflict", "The idempotency key was used for another request"
)
INTERNAL = ProblemType(500, "internal", "Something went wrong on our side")
UNAVAILABLE = ProblemType(503, "unavailable", "Not possible at the moment")

# The first of a status is the one for what the framework refuses.
PROBLEM_TYPES: Final = (
    BAD_REQUEST,
    NOT_JSON,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    CONVERSATION_NOT_FOUND,
    MESSAGE_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    MESSAGE_ID_CONFLICT,
    MESSAGE_DELETED,
    CONVERSATION_DELETED,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID,
    IDEMPOTENCY_KEY_CONFLICT,
    INTERNAL,
    UNAVAILABLE,
)


class Problem(Exception):
    """A request that ends in an error reply. `detail`, `errors` and `reason` are shown to the client.

    `reason` is the class of a refusal for programs, where one status has several.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(detail or kind.title)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.reason = reason

    def to_json(self) -> bytes:
        """The reply's body."""
        members: dict[str, object] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
        }
        if self.detail:
            members["detail"] = self.detail
        if self.reason:
            members["reason"] = self.reason
        if self.errors:
            members["errors"] = [{"field": e.field, "message": e.message} for e in self.errors]
        return to_json(members)


def invalid(*errors: FieldError) -> Problem:
    """A 422 for `errors`; the first one is also the detail."""
    first = errors[0]
    return Problem(INVALID, f"{first.field}: {first.message}", errors=errors)


def from_domain(error: TurnlogError) -> Problem:
    """What a failure of the domain is to a client."""
    for kind, explain in _FROM_DOMAIN.items():
        if isinstance(error, kind):
            return explain(error)
    return Problem(INTERNAL)


def _about(kind: ProblemType, field: str, message: str) -> Problem:
    return Problem(kind, message, errors=[FieldError(field, message)])


def _busy(error: TurnlogError) -> Problem:
    seconds = math.ceil(error.retry_after) if isinstance(error, Busy) else 1
    detail = str(error) if isinstance(error, (Overloaded, AwaitsLog)) else "Try again shortly"
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(max(1, seconds))})


_FROM_DOMAIN: Final[Mapping[type[TurnlogError], Callable[[TurnlogError], Problem]]] = {
    # The same for absent, deleted and another user's: no text of the error gets out.
    ConversationNotFound: lambda _: _about(
        CONVERSATION_NOT_FOUND, "conversation_id", CONVERSATION_NOT_FOUND.title
    ),
    ConversationDeleted: lambda _: _about(
        CONVERSATION_DELETED, "conversation_id", "This id was deleted and cannot be used again"
    ),
    MessageIdConflict: lambda error: _about(MESSAGE_ID_CONFLICT, "id", str(error)),
    MessageRemoved: lambda error: _about(MESSAGE_DELETED, "id", str(error)),
    MessageNotFound: lambda _: _about(MESSAGE_NOT_FOUND, "message_id", MESSAGE_NOT_FOUND.title),
    IdempotencyKeyConflict: lambda _: _about(
        IDEMPOTENCY_KEY_CONFLICT, "Idempotency-Key", "Used before, with another request"
    ),
    InvalidCursor: lambda _: invalid(FieldError("cursor", "Not a cursor that this list gave out")),
    InvalidSearch: lambda error: invalid(FieldError("q", str(error))),
    NotJson: lambda error: _about(NOT_JSON, "body", str(error)),
    Invalid: lambda error: invalid(*error.errors) if isinstance(error, Invalid) else Problem(INVALID),
    Busy: _busy,
}


def from_falcon(error: falcon.HTTPError, method: str) -> Problem:
    """What the framework found wrong: no such route, no such method, a malformed request."""
    headers = {name: value for name, value in _pairs(error.headers) if name.lower() == "allow"}
    if error.status_code == 405:
        field = FieldError("method", f"Use {headers.get('Allow', 'another method')}")
        return Problem(METHOD_NOT_ALLOWED, field.message, errors=[field], headers=headers)
    if error.status_code == 400 and method not in falcon.COMBINED_METHODS:
        return _about(BAD_REQUEST, "method", "There is no such method")
    for kind in PROBLEM_TYPES:
        if kind.status == error.status_code:
            return Problem(kind)
    status = HTTPStatus(error.status_code)
    return Problem(ProblemType(status.value, "http-error", status.phrase), headers=headers)


def _pairs(headers: object) -> list[tuple[str, str]]:
    if isinstance(headers, Mapping):
        return [(str(k), str(v)) for k, v in headers.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return []

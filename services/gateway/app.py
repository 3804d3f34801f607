"""The Falcon application: operations on routes, errors to problems, one middleware around it all."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import falcon
import falcon.asgi
import structlog
from falcon.asgi import Request, Response
from pydantic import TypeAdapter

from common.domain.errors import Busy, Overloaded, TurnlogError
from services.gateway import problems
from services.gateway.access import AccessLog, Surroundings
from services.gateway.admission import Admission, refuse
from services.gateway.identity.authenticator import Authenticator
from services.gateway.identity.credentials import credentials_of
from services.gateway.identity.principal import Principal
from services.gateway.identity.refusals import insufficient_scope
from services.gateway.operations import (
    Bound,
    Call,
    Operation,
    Reply,
    operations_of,
    path_conversation,
    path_message,
)
from services.gateway.problems import Problem
from services.gateway.queries import parse_query
from services.gateway.streaming import STREAM, Cut, Delivery

Responder = Callable[..., Awaitable[None]]
Handler = Callable[[Call[Any]], Awaitable[Reply]]
App = falcon.asgi.App[Request, Response]

log = structlog.get_logger(__name__)


class _Application(falcon.asgi.App[Request, Response]):
    """Falcon's, on our server: Granian calls HTTP/1.0 "1", which Falcon does not take for a version."""

    admission: Admission | None = None
    stall_seconds: float = 30.0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope.get("http_version") == "1":
            scope["http_version"] = "1.0"
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        delivery = Delivery(scope, receive, send, stall_seconds=self.stall_seconds)
        try:
            with self.admission.admit(scope) if self.admission else nullcontext():
                await super().__call__(scope, receive, delivery.send)
        except Overloaded as error:
            await refuse(error, send)
        except Cut as cut:
            # The server closes a connection whose reply has no end: that is how the client knows.
            log.warning("reply_cut", path=scope["path"], reason=str(cut))
        finally:
            await delivery.end()


def create_app(
    resources: Sequence[object],
    authenticator: Authenticator,
    access_log: AccessLog,
    *,
    admission: Admission | None = None,
    read_seconds: float | None = None,
    stall_seconds: float = 30.0,
) -> App:
    """The application that serves the operations of `resources`, those that only read in `read_seconds`; a
    reply that is streamed is cut when the client takes nothing for `stall_seconds`."""
    app = _Application(middleware=[Surroundings(access_log)])
    app.admission = admission
    app.stall_seconds = stall_seconds
    app.req_options.auto_parse_form_urlencoded = False
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _framework_error)
    app.add_error_handler(TurnlogError, _domain_error)
    app.add_error_handler(Problem, _problem)
    for path, bounds in by_path(operations_of(resources)).items():
        app.add_route(
            path.replace("{message_id}", "{message_id:path}"),
            _falcon_resource(bounds, authenticator, read_seconds),
        )
    return app


def by_path(bounds: Sequence[Bound]) -> dict[str, list[Bound]]:
    """`bounds` by the path they are on. Raises ValueError where two claim the same method."""
    paths: dict[str, list[Bound]] = defaultdict(list)
    for bound in bounds:
        described = bound.operation
        if any(other.operation.method == described.method for other in paths[described.path]):
            raise ValueError(f"{described.method} {described.path} is there twice")
        paths[described.path].append(bound)
    return dict(paths)


def _falcon_resource(
    bounds: Sequence[Bound], authenticator: Authenticator, read_seconds: float | None
) -> object:
    responders = {
        f"on_{bound.operation.method.lower()}": _responder(bound, authenticator, read_seconds)
        for bound in bounds
    }
    if "on_get" in responders:
        responders["on_head"] = responders["on_get"]  # Falcon leaves the body out
    return SimpleNamespace(**responders)


def _responder(bound: Bound, authenticator: Authenticator, read_seconds: float | None) -> Responder:
    """The steps every request takes: who, which conversation, which parameters, then the work."""
    described: Operation = bound.operation
    handler = bound.handler
    # A change must not be cut off: whoever made it would not know what became of it.
    if described.method == "GET" and read_seconds is not None:
        handler = _within(handler, read_seconds)
    query = TypeAdapter(described.query)
    none_needed = not any(field.is_required() for field in described.query.model_fields.values())
    no_parameters = described.query() if none_needed else None

    async def respond(
        req: Request,
        resp: Response,
        conversation_id: str | None = None,
        message_id: str | None = None,
    ) -> None:
        caller = None if described.public else await _caller(req, authenticator, described)
        conversation = path_conversation(conversation_id) if conversation_id is not None else None
        message = path_message(message_id) if message_id is not None else None
        parameters = no_parameters
        if parameters is None or req.query_string:
            parameters = parse_query(query, req)
        reply = await handler(Call(req, parameters, caller, conversation, message))
        resp.status = reply.status
        if reply.stream is None:
            resp.data = reply.data
        else:
            resp.stream = reply.stream
            req.scope[STREAM] = reply.stream
        resp.content_type = reply.content_type
        for name, value in reply.headers.items():
            resp.set_header(name, value)

    return respond


def _within(handler: Handler, seconds: float) -> Handler:
    """One deadline for all that a read waits for, one after the other."""

    async def handle(call: Call[Any]) -> Reply:
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await handler(call)
        except TimeoutError as error:
            if deadline.expired():
                raise Busy(f"a read took more than {seconds:g} s") from error
            raise

    return handle


async def _caller(req: Request, authenticator: Authenticator, described: Operation) -> Principal:
    caller = await authenticator.identify(credentials_of(req.scope))
    req.context.caller = caller
    if not caller.may(described.scope):
        raise insufficient_scope(described.scope)
    return caller


async def _problem(req: Request, resp: Response, problem: Problem, __: dict[str, Any]) -> None:
    req.context.refused = problem.reason
    resp.status = problem.kind.status
    resp.data = problem.to_json()
    resp.text = None
    resp.content_type = problems.CONTENT_TYPE
    for name, value in problem.headers.items():
        resp.set_header(name, value)


async def _domain_error(req: Request, resp: Response, error: TurnlogError, params: dict[str, Any]) -> None:
    problem = problems.from_domain(error)
    if problem.kind is problems.INTERNAL:
        await _unexpected(req, resp, error, params)
        return
    if isinstance(error, Busy):
        log.warning("unavailable", reason=str(error), request_id=req.context.request_id)
    await _problem(req, resp, problem, params)


async def _framework_error(
    req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any]
) -> None:
    await _problem(req, resp, problems.from_falcon(error, req.method), params)


async def _unexpected(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    log.error(
        "request_failed",
        method=req.method,
        path=req.uri_template or req.path,
        request_id=req.context.request_id,
        exc_info=error,
    )
    await _problem(req, resp, Problem(problems.INTERNAL), params)

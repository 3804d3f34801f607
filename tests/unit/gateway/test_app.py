"""From failures to replies: what a client sees when something goes wrong, here or behind us."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import httpx
import pytest
import structlog.testing

from common.domain.errors import Busy, LogUnavailable, StoreUnavailable, TurnlogError
from common.settings import Settings
from services.gateway.access import AccessLog
from services.gateway.app import App, create_app
from services.gateway.identity.authenticator import make_authenticator
from services.gateway.operations import Call, Reply, Success, operation
from services.gateway.queries import Query

OK = {200: Success("It went well.")}


class Failing:
    """A resource that fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @operation("GET", "/fails", summary="Fail", tag="test", public=True, successes=OK)
    async def fail(self, _: Call[Query]) -> Reply:
        """Raise."""
        raise self._error


class Private:
    """A resource for users only."""

    @operation("GET", "/private/{conversation_id}", summary="Who", tag="test", successes=OK)
    async def who(self, call: Call[Query]) -> Reply:
        """Say who is asking."""
        return Reply(200, f"{call.user} {call.conversation_id}".encode())


def app_of(*resources: object, access_log: AccessLog | None = None) -> App:
    return create_app(resources, make_authenticator(Settings()), access_log or AccessLog())


async def ask(app: App, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=cast(Any, app))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, **options)


async def test_an_unexpected_failure_is_logged_and_not_shown() -> None:
    """The client gets a 500 without a word of what happened; the log has it all."""
    with structlog.testing.capture_logs() as logs:
        reply = await ask(app_of(Failing(RuntimeError("the secret of the database"))), "/fails")
    assert reply.status_code == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json() == {
        "type": "urn:turnlog:problem:internal",
        "title": "Something went wrong on our side",
        "status": 500,
    }
    [line] = [line for line in logs if line["event"] == "request_failed"]
    assert line["request_id"] == reply.headers["x-request-id"]
    assert isinstance(line["exc_info"], RuntimeError)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(LogUnavailable("x"), "1"), (StoreUnavailable("x", 4.2), "5"), (Busy("x", retry_after=0.01), "1")],
)
async def test_what_is_away_for_now_is_a_503_with_a_time_to_retry(error: Exception, seconds: str) -> None:
    """In whole seconds, at least one."""
    reply = await ask(app_of(Failing(error)), "/fails")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == seconds


async def test_a_failure_of_ours_that_is_new_is_a_500() -> None:
    """An error of the domain that nobody put in the table."""
    assert (await ask(app_of(Failing(TurnlogError("unheard of"))), "/fails")).status_code == 500


@pytest.mark.parametrize("path", ["/", "/nowhere", "/fails/", "/fails/further", "/%00", "/%ff"])
async def test_an_unknown_route_is_a_problem_too(path: str) -> None:
    """A 404 of its own kind."""
    reply = await ask(app_of(Failing(RuntimeError())), path)
    assert reply.status_code == 404
    assert reply.json()["type"] == "urn:turnlog:problem:not-found"


async def test_a_wrong_method_is_told_the_right_ones() -> None:
    """In Allow, and in words."""
    reply = await ask(app_of(Failing(RuntimeError())), "/fails", method="POST")
    assert reply.status_code == 405
    assert "GET" in reply.headers["allow"]
    assert reply.json()["errors"][0]["field"] == "method"


async def test_a_method_that_is_none_is_called_that() -> None:
    """It has nothing to do with the body."""
    reply = await ask(app_of(Failing(RuntimeError())), "/fails", method="FOO")
    assert reply.status_code == 400
    assert reply.json()["type"] == "urn:turnlog:problem:bad-request"
    assert [error["field"] for error in reply.json()["errors"]] == ["method"]


async def test_head_is_get_without_a_body() -> None:
    """Also where it fails, and not where there is no GET."""
    app = app_of(Private(), Failing(RuntimeError()))
    for path in ("/private/0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c", "/private/nonsense", "/fails"):
        got, head = await ask(app, path), await ask(app, path, method="HEAD")
        assert head.status_code == got.status_code
        assert head.content == b""
        for name in ("content-length", "content-type"):
            assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("host", ["localhost:8080", "LOCALHOST:8080", "LocalHost"])
async def test_a_host_is_the_same_in_capitals(host: str) -> None:
    """Names are."""
    path = "/private/0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
    assert (await ask(app_of(Private()), path, headers={"Host": host})).status_code == 200


async def test_every_reply_has_the_common_headers() -> None:
    """Also errors, and also of unknown routes."""
    for path in ("/private/0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c", "/fails", "/nowhere"):
        reply = await ask(app_of(Private(), Failing(RuntimeError())), path)
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("x" * 129, False), ("a b", False), ("<b>", False), ("", False)]
)
async def test_a_sane_request_id_is_kept(sent: str, kept: bool) -> None:
    """Anything else is replaced: it would end up in logs."""
    reply = await ask(app_of(Failing(RuntimeError())), "/fails", headers={"X-Request-ID": sent})
    assert (reply.headers["x-request-id"] == sent) is kept


async def test_the_access_log_names_routes_not_content() -> None:
    """Failures are always written, successes up to a number, and how many were left out."""
    access_log = AccessLog()
    app = app_of(Private(), Failing(RuntimeError()), access_log=access_log)
    path = "/private/0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
    for _ in range(150):
        await ask(app, path)
    await ask(app, "/fails")
    with structlog.testing.capture_logs() as logs:
        access_log.flush()
        access_log.flush()
    lines = [line for line in logs if line["event"] == "request"]
    assert len(lines) == 101
    assert {line["path"] for line in lines} == {"/private/{conversation_id}", "/fails"}
    assert lines[0]["user"] == "local-test-client"
    assert [line["count"] for line in logs if line["event"] == "requests_not_listed"] == [50]
    assert path not in json.dumps(logs)


async def test_an_operation_cannot_be_there_twice() -> None:
    """One of the two would never be reached."""
    with pytest.raises(ValueError, match="twice"):
        app_of(Private(), Private())


class Stuck:
    """A resource that never has its answer."""

    @operation("GET", "/stuck", summary="Wait", tag="test", public=True, successes=OK)
    async def wait(self, _: Call[Query]) -> Reply:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_read_has_one_deadline() -> None:
    """Whatever it waits for."""
    app = create_app([Stuck()], make_authenticator(Settings()), AccessLog(), read_seconds=0.05)
    async with asyncio.timeout(10):
        reply = await ask(app, "/stuck")
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")

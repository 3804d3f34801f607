"""Logs: one JSON object a line, from us and from libraries, without secrets and without users' words."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import pytest
import structlog

from common.observability.logging import configure_logging
from common.settings import ObservabilitySettings


class Logged(Protocol):
    """What the fixture `logged` gives."""

    def __call__(
        self, action: Callable[[], object], log_format: Literal["json", "console"] = "json"
    ) -> list[str]: ...


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Other tests keep the logging they had."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Logged:
    """Runs an action with logging set up, and returns the lines it logged."""

    def run(action: Callable[[], object], log_format: Literal["json", "console"] = "json") -> list[str]:
        configure_logging("gateway", ObservabilitySettings(log_format=log_format))
        action()
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    return run


def test_a_line_is_a_json_object_that_names_the_service(logged: Logged) -> None:
    """Time, level, service and event are always there."""
    (text,) = logged(lambda: structlog.get_logger().info("appended", messages=3))
    line = json.loads(text)
    assert line["event"] == "appended"
    assert (line["service"], line["level"], line["messages"]) == ("gateway", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_libraries_log_the_same_way(logged: Logged) -> None:
    """What goes through the standard library's logging comes out in the same form."""
    (text,) = logged(lambda: logging.getLogger("granian").warning("worker %d is slow", 1))
    line = json.loads(text)
    assert (line["event"], line["logger"]) == ("worker 1 is slow", "granian")


def test_the_level_is_respected(logged: Logged) -> None:
    """Below the configured level nothing is written."""
    assert logged(lambda: structlog.get_logger().debug("too much")) == []
    assert logged(lambda: logging.getLogger("asyncio").debug("too much")) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hush"},
        {"jwt_secret": "hush"},
        {"headers": {"Authorization": "hush"}},
        {"items": [{"api_key": "hush"}]},
        {"url": "redis://:hush@host:6379/0"},
        {"error": "could not connect to postgresql://user:hush@host/db"},
        {"header": "Bearer hush"},
        {"text": "the token was eyJhush.eyJhush.hush"},
    ],
)
def test_secrets_are_hidden(logged: Logged, fields: dict[str, Any]) -> None:
    """By the name of the field, and wherever a URL or a token stands within text."""
    for log_format in ("json", "console"):
        (line,) = logged(lambda: structlog.get_logger().info("connecting", **fields), log_format)
        assert "connecting" in line
        assert "hush" not in line


def test_secrets_in_the_text_of_libraries_are_hidden(logged: Logged) -> None:
    """A driver that logs the address it connects to gives no password away."""
    (line,) = logged(lambda: logging.getLogger("driver").warning("no answer from %s", "redis://:hush@host"))
    assert "no answer from redis://***@host" in line


def test_a_traceback_has_no_local_variables(logged: Logged) -> None:
    """They are our users' messages."""
    content = "private words"

    def fail() -> None:
        try:
            int(content[7:])
        except ValueError:
            structlog.get_logger().exception("failed")

    (text,) = logged(fail)
    assert json.loads(text)["exception"][0]["exc_type"] == "ValueError"
    assert "private" not in text

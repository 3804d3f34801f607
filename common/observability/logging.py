"""Logs: structlog, for our own lines and those of libraries, as JSON or for a terminal, without secrets."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from common.settings import ObservabilitySettings

_SECRET_NAME = re.compile(r"password|passwd|secret|token|authorization|cookie|dsn|credential|api_?key", re.I)
_URL_LOGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]*@", re.I)
_BEARER = re.compile(r"\b(?P<kind>bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.I)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_HIDDEN = "***"
# Without the values of local variables: those are our users' messages.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def configure_logging(service: str, settings: ObservabilitySettings) -> None:
    """Set up structlog and the standard library's logging for this process, on standard error.

    Every line carries `service`. Call it once, in a service's `__main__`; a second call replaces the first.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    last: list[Processor] = (
        [_TRACEBACKS, redact_secrets, structlog.processors.JSONRenderer(_dumps)]
        if settings.log_format == "json"
        else [redact_secrets, _console(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # It tells every request that we make, with its whole address.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def quiet(settings: ObservabilitySettings) -> ObservabilitySettings:
    """For a command that a person looks at: what it does, it says itself; of its parts only what is amiss."""
    levels = logging.getLevelNamesMapping()
    if levels[settings.log_level.upper()] >= logging.WARNING:
        return settings
    return settings.model_copy(update={"log_level": "warning"})


def redact_secrets(logger: object, method: str, event: EventDict) -> EventDict:
    """A structlog processor: hides values under secret-looking names, and logins and tokens within text."""
    return _redact_mapping(event)


def _redact_mapping(values: Mapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        name: _HIDDEN if value is not None and _SECRET_NAME.search(str(name)) else _redact(value)
        for name, value in values.items()
    }


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        text = _URL_LOGIN.sub(rf"\g<scheme>{_HIDDEN}@", value)
        text = _BEARER.sub(rf"\g<kind> {_HIDDEN}", text)
        return _JWT.sub(_HIDDEN, text)
    if isinstance(value, Mapping):
        return _redact_mapping(cast("Mapping[str, Any]", value))
    if isinstance(value, list | tuple):
        return [_redact(item) for item in cast("list[Any]", value)]
    return value


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _named(service: str) -> Processor:
    def add_service(logger: object, method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add_service


def _dumps(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()

"""pydantic's errors in the caller's terms: one line per field, named as in the request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from common.checks.errors import MAX_ERRORS, FieldError, Invalid, Path, field_name

T = TypeVar("T")

# As many of pydantic's as make up MAX_ERRORS fields, and then some.
_MAX_PROBLEMS: Final = MAX_ERRORS * 10
# pydantic can only list all of what it found, at 5 µs each; above this it is not asked to.
_TOO_MANY_TO_LIST: Final = 10_000

_MESSAGES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
}
_PREFIXES: Final = ("Value error, ", "Assertion failed, ")


def validate(adapter: TypeAdapter[T], value: object, *, prefix: Path = ()) -> T:
    """`value` as the adapter's type. Raises Invalid, whose fields start with `prefix`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise Invalid(*field_errors(error, value, prefix=prefix)) from error


def field_errors(error: ValidationError, value: object, *, prefix: Path = ()) -> list[FieldError]:
    """What `error` found wrong in `value`, at most MAX_ERRORS fields of it.

    A union reports every one of its branches, under their names; those become one error for the field,
    or for the deepest place that a branch got to.
    """
    if error.error_count() > _TOO_MANY_TO_LIST:
        return [FieldError(field_name(prefix), f"has more than {_TOO_MANY_TO_LIST} errors")]
    messages: dict[Path, list[str]] = {}
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    for problem in problems[:_MAX_PROBLEMS]:
        path = _without_branches(problem["loc"], value)
        if problem["type"] in ("missing", "extra_forbidden"):
            path = problem["loc"]
        found = messages.setdefault(path, [])
        text = _message(problem["type"], problem["msg"])
        if text not in found:
            found.append(text)
    passed = {path[:length] for path in messages for length in range(len(path))}
    deepest = [path for path in messages if path not in passed]
    return [
        FieldError(field_name((*prefix, *path)), " or ".join(messages[path])) for path in deepest[:MAX_ERRORS]
    ]


def _without_branches(location: Iterable[str | int], value: Any) -> Path:
    """`location` less the names of union branches, which are no part of `value`."""
    path: list[str | int] = []
    for step in location:
        if isinstance(value, dict) and step in value:
            value = cast(dict[str | int, Any], value)[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(cast(list[Any], value)):
            value = cast(list[Any], value)[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _message(kind: str, text: str) -> str:
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


class Strict(BaseModel):
    """A request's object: unknown fields are refused, nothing is converted."""

    model_config = {"extra": "forbid", "strict": True, "frozen": True}

"""JSON text from outside, parsed; refused where we could not keep it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, cast

from pydantic_core import from_json

from common.checks.errors import FieldError, Invalid, NotJson, Path, field_name, refuse

# One step down for what opens, one up for what closes, as signed bytes; of the rest only quotes matter.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_STEPS: Final = bytes(set(range(256)) - set(b'[{]}"'))


def parse_json(raw: bytes, max_depth: int) -> Any:
    """The JSON value in `raw`; integers keep every digit.

    Raises NotJson, and Invalid for JSON that cannot be kept (NUL, half surrogate pairs, NaN, nesting
    deeper than `max_depth`).
    """
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise _unparsable(raw, str(error)) from error
    if raw.count(b"[") + raw.count(b"{") > max_depth and _depth(raw) > max_depth:
        raise Invalid(FieldError("body", f"Nested more than {max_depth} deep (LIMITS_MAX_DEPTH)"))
    # Without the escaped backslashes: after one of those, u0000 is text.
    if b"\\u0000" in raw and b"\\u0000" in raw.replace(b"\\\\", b""):
        refuse(FieldError(field_name(path), "NUL characters cannot be stored") for path in _nuls(value, ()))
    return value


def _unparsable(raw: bytes, reason: str) -> Invalid | NotJson:
    """Why `raw` did not parse: well-formed but unacceptable, or no JSON."""
    if "recursion limit" in reason:
        return Invalid(FieldError("body", "Nested too deep"))
    if "surrogate" in reason or "hex escape" in reason:
        return Invalid(FieldError("body", f"Half of a surrogate pair: {reason}"))
    if "out of range" in reason:
        return Invalid(FieldError("body", f"A number has too many digits: {reason}"))
    try:
        from_json(raw, allow_inf_nan=True)
    except ValueError:
        return NotJson(reason)
    return Invalid(FieldError("body", f"NaN and Infinity are not JSON: {reason}"))


def _depth(raw: bytes) -> int:
    """How deep the JSON in `raw` is nested. No step of it is Python's: it may have millions of brackets."""
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = unescaped.translate(_STEPS, _NO_STEPS).split(b'"')[::2]
    steps = memoryview(b"".join(outside_strings)).cast("b")
    return max(accumulate(steps), default=0)


def _items(node: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(node, dict):
        yield from cast(dict[str, object], node).items()
    elif isinstance(node, list):
        yield from enumerate(cast(list[object], node))


def _nuls(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, str):
        if "\0" in value:
            yield path
        return
    for key, child in _items(value):
        if isinstance(key, str) and "\0" in key:
            yield path
        yield from _nuls(child, (*path, key))


def infinities(value: object, path: Path = ()) -> Iterator[Path]:
    """Where in `value` a number was too large to stay finite, such as 1e999."""
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            yield path
        return
    for key, child in _items(value):
        yield from infinities(child, (*path, key))

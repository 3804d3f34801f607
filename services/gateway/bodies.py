"""Request bodies: read within a bound, taken apart as JSON, refused where we could not keep them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final, cast

import falcon
from falcon.asgi import Request
from pydantic_core import from_json

from common.settings import LimitsSettings
from services.gateway.problems import (
    NOT_JSON,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    Problem,
    invalid,
)
from services.gateway.validation import Path, field_name

DRAIN_FACTOR: Final = 4
DRAIN_SECONDS: Final = 5.0
_JSON_CHARSETS: Final = ("", "utf-8", "utf8")


async def read_json(req: Request, limits: LimitsSettings) -> tuple[bytes, Any]:
    """The request's body, as bytes and parsed.

    Raises Problem: 415 for another content type, 413 over the size limit, 400 for what is not JSON,
    422 for JSON that cannot be kept (NUL, half surrogate pairs, NaN, nesting over the limit).
    """
    _check_content_type(req)
    raw = await _read(req, limits.max_body_bytes)
    return raw, parse_json(raw, limits.max_depth)


def _check_content_type(req: Request) -> None:
    # A body without a type is refused as well: a web page of another origin may send one without
    # asking (CORS lets it), and in local modes there is no token to stop it.
    media_type, _, parameters = (req.content_type or "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in _JSON_CHARSETS:
        field = FieldError("Content-Type", "Must be application/json, in UTF-8")
        raise Problem(UNSUPPORTED_MEDIA_TYPE, field.message, errors=[field])
    if (req.get_header("Content-Encoding") or "identity").lower() != "identity":
        field = FieldError("Content-Encoding", "Bodies must not be compressed")
        raise Problem(UNSUPPORTED_MEDIA_TYPE, field.message, errors=[field])


async def _read(req: Request, limit: int) -> bytes:
    try:
        announced = req.content_length
    except falcon.HTTPInvalidHeader as error:
        raise invalid(FieldError("Content-Length", "Not a length")) from error
    if announced is not None and announced <= limit:
        return await req.stream.read()
    chunks: list[bytes] = []
    size = 0
    if announced is None:
        async for chunk in req.stream:
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
        else:
            return b"".join(chunks)
    if announced is None or announced <= limit * DRAIN_FACTOR:
        await _drain(req, limit * DRAIN_FACTOR)
    field = FieldError("body", f"At most {limit} bytes (LIMITS_MAX_BODY_BYTES)")
    raise Problem(TOO_LARGE, field.message, errors=[field])


async def _drain(req: Request, most: int) -> None:
    """Read and forget what is still coming, within bounds.

    A client that is in the midst of sending looks for the reply afterwards only; to one that is cut
    off it looks like an outage.
    """
    seen = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in req.stream:
                seen += len(chunk)
                if seen > most:
                    return
    except (TimeoutError, falcon.OperationNotAllowed):
        return


def parse_json(raw: bytes, max_depth: int) -> Any:
    """The JSON value in `raw`; integers keep every digit. Raises Problem (400 or 422)."""
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise _unparsable(raw, str(error)) from error
    if raw.count(b"[") + raw.count(b"{") > max_depth and _depth(value) > max_depth:
        raise invalid(FieldError("body", f"Nested more than {max_depth} deep (LIMITS_MAX_DEPTH)"))
    if b"\\u0000" in raw:
        errors = [
            FieldError(field_name(path), "NUL characters cannot be stored") for path in _nuls(value, ())
        ]
        if errors:
            raise invalid(*errors)
    return value


def _unparsable(raw: bytes, reason: str) -> Problem:
    """Why `raw` did not parse. What is well-formed but unacceptable is a 422, all else a 400."""
    if "recursion limit" in reason:
        return invalid(FieldError("body", "Nested too deep"))
    if "surrogate" in reason or "hex escape" in reason:
        return invalid(FieldError("body", f"Half of a surrogate pair: {reason}"))
    try:
        from_json(raw, allow_inf_nan=True)
    except ValueError:
        return Problem(NOT_JSON, reason, errors=[FieldError("body", reason)])
    return invalid(FieldError("body", f"NaN and Infinity are not JSON: {reason}"))


def _depth(value: object) -> int:
    level: list[object] = [value]
    depth = -1
    while level:
        depth += 1
        level = [child for node in level for _, child in _items(node)]
    return depth


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

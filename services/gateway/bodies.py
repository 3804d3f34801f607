"""Request bodies: read within a bound, taken apart as JSON, refused where we could not keep them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import falcon
from falcon.asgi import Request

from common.checks.errors import FieldError
from common.checks.json_text import parse_json
from common.settings import LimitsSettings
from services.gateway.problems import TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Problem, invalid

DRAIN_FACTOR: Final = 4
DRAIN_SECONDS: Final = 5.0
_JSON_CHARSETS: Final = ("", "utf-8", "utf8")


async def read_json(req: Request, limits: LimitsSettings) -> tuple[bytes, Any]:
    """The request's body, as bytes and parsed.

    Raises Problem (415 for another content type, 413 over the size limit), and as `parse_json` does.
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

"""One fetch of an issuer's key set (JWKS), with a bound on everything that could go on for ever."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx

from common.identity.keys import PublicKey, key_of
from services.gateway.identity.key_sets import Fetch, KeySet, KeySetUnavailable

MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100


def fetcher(url: str, *, timeout_seconds: float) -> Fetch:
    """What fetches the key set at `url`: no redirects, no compression, MAX_BYTES at most, one deadline.

    Every connection is a new one, and closed: a fetch is rare, and what waits between two may be half-open.
    """

    trusted = httpx.create_ssl_context()  # here, once: it reads a large file

    async def fetch() -> KeySet:
        try:
            async with asyncio.timeout(timeout_seconds):
                return parse_key_set(await _body(url, trusted, timeout_seconds))
        except TimeoutError:
            raise KeySetUnavailable(f"no answer within {timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise KeySetUnavailable(type(error).__name__) from None

    return fetch


async def _body(url: str, trusted: ssl.SSLContext, timeout_seconds: float) -> bytes:
    # A redirect is refused, not followed: it would let whoever answers choose where the keys come from.
    # A compressed answer could be a thousand times what was counted on the way. A key set of this machine
    # comes over http, which no proxy that the environment names may see: it could put in keys of its own.
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(
            verify=trusted,
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=url.startswith("https:"),
        ) as client,
        client.stream("GET", url, headers=headers) as reply,
    ):
        if reply.status_code != 200:
            raise KeySetUnavailable(f"answered with status {reply.status_code}")
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            raise KeySetUnavailable("answered with a compressed body")
        body = bytearray()
        async for part in reply.aiter_raw():
            body += part
            if len(body) > MAX_BYTES:
                raise KeySetUnavailable(f"answered with more than {MAX_BYTES} bytes")
        return bytes(body)


def parse_key_set(body: bytes) -> KeySet:
    """The usable keys of a JWKS. Raises KeySetUnavailable for what is none, or has no usable key."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise KeySetUnavailable("answered with what is not JSON") from None
    listed = cast("Mapping[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise KeySetUnavailable("answered with what is no key set")
    keys: dict[tuple[str, str | None], PublicKey] = {}
    for entry in cast("list[Any]", listed)[:MAX_KEYS]:
        found = key_of(cast("Mapping[str, Any]", entry)) if isinstance(entry, dict) else None
        key_id = cast("Mapping[str, Any]", entry).get("kid") if found else None
        if found and (key_id is None or isinstance(key_id, str)):
            keys.setdefault((found[0], key_id), found[1])
    if not keys:
        raise KeySetUnavailable("has no key that is for checking signatures of tokens")
    return keys

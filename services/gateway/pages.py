"""What a person in a browser finds: a greeting, the API's document, and a page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from services.gateway.openapi import openapi_json
from services.gateway.operations import Call, Reply, Success, operation, operations_of
from services.gateway.queries import Query

HTML: Final = "text/html; charset=utf-8"
TAG: Final = "pages"
_INLINE = re.compile(r"<(?P<kind>script|style)>(?P<text>.*?)</(?P=kind)>", re.DOTALL)
_PAGE: Final = Success("A page.", content_type="text/html")


class Pages:
    """The pages, and the OpenAPI document of themselves and of `resources`."""

    def __init__(self, resources: Sequence[object]) -> None:
        self._document = openapi_json(operations_of([*resources, self]))
        self._home = _page("home.html")
        self._docs = _page("docs.html")

    @operation("GET", "/", summary="Where to go from here", tag=TAG, public=True, successes={200: _PAGE})
    async def home(self, _: Call[Query]) -> Reply:
        """A short page that points to the documentation."""
        return self._home

    @operation("GET", "/docs", summary="The API for people", tag=TAG, public=True, successes={200: _PAGE})
    async def docs(self, _: Call[Query]) -> Reply:
        """Shows the OpenAPI document and lets you try it. Loads nothing from anywhere else."""
        return self._docs

    @operation(
        "GET",
        "/openapi.json",
        summary="The API for programs",
        tag=TAG,
        public=True,
        successes={200: Success("OpenAPI 3.1.", content_type="application/json")},
    )
    async def openapi(self, _: Call[Query]) -> Reply:
        """Made from the same descriptions that route the requests."""
        return Reply(200, self._document)


def _page(name: str) -> Reply:
    text = (files("services.gateway") / "site" / name).read_text(encoding="utf-8")
    return Reply(200, text.encode(), {"Content-Security-Policy": content_security_policy(text)}, HTML)


def content_security_policy(page: str) -> str:
    """A policy that lets run what is written in `page` and nothing else, and call this server only."""
    digests: dict[str, list[str]] = {"script": [], "style": []}
    for match in _INLINE.finditer(page):
        digest = base64.b64encode(hashlib.sha256(match["text"].encode()).digest()).decode()
        digests[match["kind"]].append(f"'sha256-{digest}'")
    rules = ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    rules += [f"{kind}-src {' '.join(found)}" for kind, found in digests.items() if found]
    return "; ".join(rules)

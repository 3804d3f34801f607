"""The calls of the API, each as what goes over the wire and what goes into the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tests.chaos.history import Arguments, Kind
from tests.chaos.tags import text_of

CONVERSATIONS: Final = "/api/conversations"
Params = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of `user`, ready to be sent any number of times: it is the same bytes each time."""

    user: str
    kind: Kind
    arguments: Arguments
    method: str
    path: str
    params: Params = field(default_factory=Params)
    body: bytes | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What it says beside the body."""
        headers = {"Content-Type": "application/json"} if self.body is not None else {}
        return headers | ({"Idempotency-Key": self.arguments.key} if self.arguments.key else {})


def create(user: str, title: str, *, conversation: str | None = None, key: str | None = None) -> Ask:
    """Begin a conversation, with an id of ours where one is given. `title` is the title's tag."""
    body = {"title": text_of(title)} | ({"conversation_id": conversation} if conversation else {})
    asked = Arguments(conversation=conversation, title=title, key=key)
    return Ask(user, Kind.CREATE, asked, "POST", CONVERSATIONS, body=orjson.dumps(body))


def append(
    user: str, conversation: str, tags: Sequence[str], *, named: bool = False, key: str | None = None
) -> Ask:
    """Append a message for each tag; `named` ones bring their ids."""
    asked = Arguments(conversation=conversation, tags=tuple(tags), key=key)
    body = orjson.dumps(_messages(tags, named))
    return Ask(user, Kind.APPEND, asked, "POST", f"{CONVERSATIONS}/{conversation}/messages", body=body)


def submit(
    user: str,
    conversation: str | None,
    tags: Sequence[str],
    *,
    named: bool = False,
    key: str | None = None,
) -> Ask:
    """The same by the route that makes a conversation where none is named."""
    asked = Arguments(conversation=conversation, tags=tuple(tags), key=key)
    body = _messages(tags, named) | ({"conversation_id": conversation} if conversation else {})
    path = f"{CONVERSATIONS}/messages"
    return Ask(user, Kind.SUBMIT, asked, "POST", path, body=orjson.dumps(body))


def rename(user: str, conversation: str, title: str) -> Ask:
    """Give a conversation another title; `title` is its tag."""
    asked = Arguments(conversation=conversation, title=title)
    body = orjson.dumps({"title": text_of(title)})
    return Ask(user, Kind.RENAME, asked, "PATCH", f"{CONVERSATIONS}/{conversation}", body=body)


def delete(user: str, conversation: str) -> Ask:
    """Delete a conversation."""
    asked = Arguments(conversation=conversation)
    return Ask(user, Kind.DELETE, asked, "DELETE", f"{CONVERSATIONS}/{conversation}")


def recent(user: str, conversation: str, limit: int) -> Ask:
    """The last `limit` messages."""
    return _read(user, Kind.RECENT, Arguments(conversation=conversation, limit=limit))


def window(
    user: str, conversation: str, *, after: int | None = None, before: int | None = None, limit: int
) -> Ask:
    """Messages between two numbers, both exclusive."""
    asked = Arguments(conversation=conversation, after=after, before=before, limit=limit)
    return _read(user, Kind.WINDOW, asked)


def page(user: str, conversation: str, number: int, size: int, *, descending: bool = False) -> Ask:
    """A page of the whole history."""
    asked = Arguments(conversation=conversation, page=number, page_size=size, descending=descending)
    return _read(user, Kind.PAGE, asked)


def header(user: str, conversation: str, limit: int) -> Ask:
    """A conversation and its last messages."""
    asked = Arguments(conversation=conversation, limit=limit)
    return Ask(user, Kind.HEADER, asked, "GET", f"{CONVERSATIONS}/{conversation}", {"limit": limit})


def listing(user: str, *, limit: int, cursor: str | None = None) -> Ask:
    """The conversations from a cursor on."""
    asked = Arguments(limit=limit, cursor=cursor)
    params: Params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    return Ask(user, Kind.LIST, asked, "GET", CONVERSATIONS, params)


def list_page(user: str, number: int, size: int) -> Ask:
    """A page of the conversations."""
    asked = Arguments(page=number, page_size=size)
    return Ask(user, Kind.LIST, asked, "GET", CONVERSATIONS, {"page": number, "page_size": size})


def _messages(tags: Sequence[str], named: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": text_of(tag)} | ({"id": tag} if named else {}) for tag in tags]
    return messages[0] if len(messages) == 1 else {"messages": messages}


def _read(user: str, kind: Kind, asked: Arguments) -> Ask:
    named = {
        "limit": asked.limit,
        "after": asked.after,
        "before": asked.before,
        "page": asked.page,
        "page_size": asked.page_size,
    }
    params: Params = {name: value for name, value in named.items() if value is not None}
    if asked.descending:
        params["order"] = "desc"
    return Ask(user, kind, asked, "GET", f"{CONVERSATIONS}/{asked.conversation}/messages", params)

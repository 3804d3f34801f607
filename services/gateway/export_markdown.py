"""A conversation for people, as Markdown. Texts stand as they are: they are Markdown most of the time.

Nothing but the messages' ids is left out: what is no text (parts of other kinds, calls of tools, fields of
the client's own) stands as JSON in a fence that is longer than any within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from pydantic_core import to_json

from common.domain.conversations import Header
from common.domain.ids import isoformat_ms
from common.domain.messages import Numbered, parse_body

_FENCES = re.compile(r"`{3,}")
_SHOWN: Final = frozenset(("id", "role", "created_at", "name", "content", "tool_calls", "tool_call_id"))


def heading(header: Header) -> str:
    """The title, and what is known of the conversation itself."""
    state = header.state
    lines = [f"# {_one_line(state.title) or 'Untitled'}", "", f"- Conversation: {header.id}"]
    if state.model:
        lines.append(f"- Model: {_one_line(state.model)}")
    lines.append(f"- Begun: {state.created_at}")
    lines.append(f"- Last modified: {isoformat_ms(header.last_modified_ms)}")
    if state.metadata != b"{}":
        lines.append(f"- Metadata: {state.metadata.decode()}")
    return "\n".join(lines) + "\n"


def section(message: Numbered) -> str:
    """One message: a heading with its number, role and time, then all that it holds."""
    body = parse_body(message.body)
    who = _one_line(body.get("role") or body.get("type")) or "no role"
    if body.get("name"):
        who += f" ({_one_line(body['name'])})"
    blocks = [f"## {message.sequence_number} · {who} · {_one_line(body.get('created_at'))}", *_blocks(body)]
    return "\n" + "\n\n".join(blocks) + "\n"


def _blocks(body: dict[str, Any]) -> Iterator[str]:
    if body.get("tool_call_id"):
        yield f"Answer to the tool call `{_one_line(body['tool_call_id'])}`:"
    yield from _content(body.get("content"))
    for call in cast(list[object], body.get("tool_calls") or []):
        yield f"Tool call{_called(call)}:"
        yield _fenced(call)
    rest = {name: value for name, value in body.items() if name not in _SHOWN}
    if rest:
        yield _fenced(rest)


def _content(content: object) -> Iterator[str]:
    for part in cast(list[object], content) if isinstance(content, list) else [content]:
        match part:
            case None | "":
                pass
            case str():
                yield part
            case {"type": "text", "text": str() as text} if len(cast(dict[str, object], part)) == 2:
                yield text
            case _:
                yield _fenced(part)


def _called(call: object) -> str:
    match call:
        case {"function": {"name": str() as name}}:
            return f" of `{_one_line(name)}`"
        case _:
            return ""


def _fenced(value: object) -> str:
    text = to_json(value, indent=2).decode()
    fence = "`" * max(3, 1 + max((len(found) for found in _FENCES.findall(text)), default=0))
    return f"{fence}json\n{text}\n{fence}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split()) if text is not None else ""

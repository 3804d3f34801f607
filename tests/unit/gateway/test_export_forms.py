"""The forms of an export, and the names of their files."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic_core import to_json

from common.domain.conversations import Header, State
from common.domain.messages import Numbered
from services.gateway.export_markdown import heading, section
from services.gateway.file_names import MAX_CHARS, attachment

HEAD = 'attachment; filename="turnlog-1.json"'


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Paris", "Paris"),
        ("Grüße an Zoë 😀", "Grüße an Zoë 😀"),
        ("../../etc/passwd", "etc passwd"),
        ("C:\\autoexec.bat", "C autoexec.bat"),
        ('a"; filename="b', "a ; filename= b"),
        ("a\r\nSet-Cookie: x", "a Set-Cookie x"),
        ("invoice\u202efdp.exe", "invoice fdp.exe"),
        ("50%2F50", "50 2F50"),
        ("x" * 500, "x" * MAX_CHARS),
    ],
)
def test_a_title_becomes_a_name(title: str, shown: str) -> None:
    """All of it in one parameter, escaped; nothing of a path, nothing that is not seen."""
    value = attachment("turnlog-1", "json", title=title)
    assert value.startswith(f"{HEAD}; filename*=UTF-8''")
    encoded = value.removeprefix(f"{HEAD}; filename*=UTF-8''")
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", encoded)
    assert unquote(encoded) == f"{shown}.json"


@pytest.mark.parametrize("title", [None, "", " . ", "///", "\u202e\u200b\r\n"])
def test_without_a_title_that_can_be_shown_the_plain_name_has_to_do(title: str | None) -> None:
    """It names the conversation."""
    assert attachment("turnlog-1", "json", title=title) == HEAD


def markdown(**fields: Any) -> str:
    return section(Numbered(7, to_json({"id": "m", "created_at": "2026-01-31T12:00:00Z", **fields})))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"role": "user", "content": "a\n\n**b** <i> `c`"}, "## 7 · user · T\n\na\n\n**b** <i> `c`\n"),
        ({"role": "user", "name": "Al\nice", "content": ""}, "## 7 · user (Al ice) · T\n"),
        ({"content": ["a", {"type": "text", "text": "b"}]}, "## 7 · no role · T\n\na\n\nb\n"),
        (
            {"role": "user", "content": [{"type": "text", "text": "b", "cache": 1}]},
            '## 7 · user · T\n\n```json\n{\n  "type": "text",\n  "text": "b",\n  "cache": 1\n}\n```\n',
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": "18"},
            "## 7 · tool · T\n\nAnswer to the tool call `c1`:\n\n18\n",
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
            "## 7 · assistant · T\n\nTool call of `f`:\n\n```json\n"
            '{\n  "function": {\n    "name": "f"\n  }\n}\n```\n',
        ),
        ({"role": "user", "x": "````"}, '## 7 · user · T\n\n`````json\n{\n  "x": "````"\n}\n`````\n'),
    ],
)
def test_a_message_for_people_has_all_that_it_holds(fields: dict[str, Any], expected: str) -> None:
    """Texts as they were sent; the rest as JSON, in a fence that nothing in it ends."""
    assert markdown(**fields) == "\n" + expected.replace("T\n", "2026-01-31T12:00:00Z\n")


def test_the_heading_is_one_line_whatever_the_title() -> None:
    """And says what is known of the conversation."""
    state = State("a\n# b", "m-1", b'{"k":1}', "2026-01-31T12:00:00Z")
    header = Header("c", state, 0, 1, 1, None, 1)  # pyright: ignore[reportArgumentType]
    assert heading(header) == (
        "# a # b\n\n- Conversation: c\n- Model: m-1\n- Begun: 2026-01-31T12:00:00Z\n"
        '- Last modified: 1970-01-01T00:00:00.000Z\n- Metadata: {"k":1}\n'
    )

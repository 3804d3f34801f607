"""Tags: what makes each message and title of the workload one of a kind, and tells whose it is.

A tag is `<user>/<operation>/<index>`. A text is its tag and some filler that follows from it, so that whoever
reads one can tell whether it is whole.
"""

from __future__ import annotations

import zlib
from typing import Any

FILLER = "the quick brown fox jumps over the lazy dog and the turn is logged "


def make_tag(user: str, operation: str, index: int | str) -> str:
    """The tag of an operation's message at `index`, or of its title (`t`)."""
    return f"{user}/{operation}/{index}"


def text_of(tag: str) -> str:
    """The whole text that has this tag: 20 to 300 characters."""
    length = zlib.crc32(tag.encode()) % 280
    return f"{tag} {(FILLER * 5)[:length]}|"


def tag_of(message: dict[str, Any]) -> str:
    """A message's tag; of a message that is not one of ours, or not whole, its content with `!` before."""
    content = message.get("content")
    if not isinstance(content, str):
        return f"!{content!r:.60}"
    tag = content.partition(" ")[0]
    return tag if text_of(tag) == content else f"!{content:.60}"


def title_tag(title: str | None) -> str | None:
    """The tag of a title, which may be the beginning of a message."""
    return title.partition(" ")[0] if title else None


def user_of(tag: str) -> str:
    """Whose tag it is; '' where it is not one of ours."""
    return "" if tag.startswith("!") else tag.partition("/")[0]

"""Lists of conversations that are followed by a cursor: the list, and what a cursor says."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from common.domain.errors import InvalidCursor
from common.domain.ids import ConversationId, parse_conversation_id


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Rows of a conversation list, each a JSON object, newest first; a cursor where more follow."""

    items: list[bytes]
    next_cursor: str | None


def make_cursor(last_modified_ms: int, conversation: ConversationId) -> str:
    """Where a conversation list goes on: opaque to clients."""
    return base64.urlsafe_b64encode(f"{last_modified_ms}.{conversation}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[int, str]:
    """The inverse of `make_cursor`. Raises InvalidCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        time, _, conversation = text.partition(".")
        last_modified_ms = int(time)
    except ValueError as error:
        raise InvalidCursor("the cursor is not one that a reply gave") from error
    if parse_conversation_id(conversation) is None or not 0 <= last_modified_ms < 2**53:
        raise InvalidCursor("the cursor is not one that a reply gave")
    return last_modified_ms, conversation

"""Reply bodies put together from stored JSON, as bytes: nothing that was stored is parsed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic_core import to_json

from common.domain.ids import ConversationId, Position

REPLAYED: Final = {"Idempotent-Replayed": "true"}


def array(items: Sequence[bytes]) -> bytes:
    """A JSON array of `items`, which are JSON."""
    return b"[%b]" % b",".join(items)


def with_member(served: bytes, name: bytes, value: bytes) -> bytes:
    """The JSON object `served` with one more member at its end; `value` is JSON."""
    return b'%b,"%b":%b}' % (served[:-1], name, value)


def message_list(conversation: ConversationId, messages: Sequence[bytes]) -> bytes:
    """Messages of one conversation."""
    return b'{"conversation_id":"%b","messages":%b}' % (conversation.encode(), array(messages))


def appended(
    conversation: ConversationId,
    messages: Sequence[bytes],
    position: Position | None,
    persisted: bool | None,
) -> bytes:
    """The answer to an append; `persisted` is left out where nobody asked."""
    body = with_member(message_list(conversation, messages), b"position", to_json(position))
    return body if persisted is None else with_member(body, b"persisted", to_json(persisted))


def pagination(*, total: int, page: int, page_size: int) -> bytes:
    """Where a page stands; a page past the last is empty and has a previous one."""
    pages = -(-total // page_size)
    return to_json(
        {
            "total": total,
            "page": page,
            "page_size": page_size,
            "total_pages": pages,
            "has_next": page < pages,
            "has_prev": page > 1,
        }
    )

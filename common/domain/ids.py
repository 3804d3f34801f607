"""The names of things: who, which conversation, which message, where on the log."""

import re
import time
import unicodedata
from datetime import UTC, datetime
from typing import Final, NewType
from uuid import UUID, uuid5

import uuid_utils

UserId = NewType("UserId", str)
ConversationId = NewType("ConversationId", str)
"""A UUID in its canonical lower-case form; unique within its user, never across users."""
MessageId = NewType("MessageId", str)
Position = NewType("Position", str)
"""A stream entry id, `<milliseconds>-<counter>`, ordered by `position_order`."""

MAX_USER_ID_CHARS: Final = 200

CANONICAL_UUID: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_CANONICAL = re.compile(CANONICAL_UUID.strip("^$"))
_DERIVED = UUID("6f1c9d0e-6f0b-5f43-9a57-2b6f2f0f7a11")


def new_conversation_id() -> ConversationId:
    """A fresh UUIDv7: no other conversation has ever had it, so nothing need be looked up."""
    return ConversationId(str(uuid_utils.uuid7()))


def new_message_id() -> MessageId:
    """A fresh UUIDv7."""
    return MessageId(str(uuid_utils.uuid7()))


def derived_id(*parts: str) -> str:
    """The same UUID for the same `parts`, for ever: how an idempotency key names what it made."""
    return str(uuid5(_DERIVED, "\x1f".join(parts)))


def parse_user_id(value: object) -> UserId | None:
    """`value` as a user id that both stores can keep, or None.

    Text of 1 to 200 characters, none of them a control character or half of a surrogate pair.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_USER_ID_CHARS:
        return None
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        return None
    return UserId(value)


def parse_conversation_id(text: str) -> ConversationId | None:
    """`text` as a conversation id, or None where it is no UUID written with its hyphens."""
    lowered = text.lower()
    return ConversationId(lowered) if _CANONICAL.fullmatch(lowered) else None


def position_order(position: Position) -> tuple[int, int]:
    """A key that sorts positions as the log does (as text, `9-1` would follow `10-0`)."""
    milliseconds, _, counter = position.partition("-")
    return int(milliseconds), int(counter or 0)


def now_ms() -> int:
    """This process's clock, milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def isoformat_ms(milliseconds: int) -> str:
    """`milliseconds` since 1970 as RFC 3339 text in UTC: `2026-01-31T12:00:00.123Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"

"""A conversation's own fields as they are sent: checked, made into the state that is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from common.checks.errors import FieldError, field_name, refuse
from common.checks.json_text import infinities
from common.domain.conversations import State, metadata_json
from common.domain.messages import TITLE_CHARS, NewMessage, shorten
from common.settings import LimitsSettings


def check_state(title: str | None, metadata: dict[str, Any] | None, limits: LimitsSettings) -> None:
    """Refuse a title or metadata that are too large to keep. Raises Invalid."""
    refuse(_unfit(title, metadata, limits))


def _unfit(
    title: str | None, metadata: dict[str, Any] | None, limits: LimitsSettings
) -> Iterator[FieldError]:
    if title is not None and len(title) > limits.max_title_chars:
        text = f"has more than {limits.max_title_chars} characters (LIMITS_MAX_TITLE_CHARS)"
        yield FieldError("title", text)
    kept = metadata_json(metadata)
    if len(kept) > limits.max_metadata_bytes:
        text = f"takes more than {limits.max_metadata_bytes} bytes (LIMITS_MAX_METADATA_BYTES)"
        yield FieldError("metadata", text)
    elif b"Infinity" in kept:
        for path in infinities(metadata, ("metadata",)):
            yield FieldError(field_name(path), "is too large a number")


def first_title(messages: Sequence[NewMessage]) -> str | None:
    """The title that a conversation without one takes from its messages: the first user message's text."""
    text = next((message.text for message in messages if message.role == "user"), "")
    return shorten(text, TITLE_CHARS) or None


def first_state(
    *,
    title: str | None,
    model: str | None,
    metadata: dict[str, Any] | None,
    created_at: str,
    messages: Sequence[NewMessage] = (),
) -> State:
    """The state a conversation begins with; without a title it takes one from its first user message."""
    if title is None:
        title = first_title(messages)
    return State(title=title, model=model, metadata=metadata_json(metadata), created_at=created_at)

"""A conversation's own fields as a client sends them: checked, made into the state that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter

from common.domain.conversations import State, metadata_json
from common.domain.ids import ConversationId, isoformat_ms
from common.domain.messages import TITLE_CHARS, NewMessage, shorten
from common.settings import LimitsSettings
from services.gateway.bodies import infinities
from services.gateway.operations import path_conversation
from services.gateway.problems import FieldError, invalid
from services.gateway.schemas import ConversationChange, NewConversation
from services.gateway.validation import field_name, validate

NEW_CONVERSATION: Final = TypeAdapter(NewConversation)
CHANGE: Final = TypeAdapter(ConversationChange)


def new_conversation(fields: object, limits: LimitsSettings) -> NewConversation:
    """Check what a conversation is made from. Raises Problem (422)."""
    conversation = validate(NEW_CONVERSATION, fields)
    _check(conversation.title, conversation.metadata, limits)
    return conversation


def conversation_change(fields: object, limits: LimitsSettings) -> ConversationChange:
    """Check a change. Raises Problem (422), also where it changes nothing."""
    change = validate(CHANGE, fields)
    if not change.model_fields_set:
        raise invalid(FieldError("body", "names nothing to change: title, model or metadata"))
    _check(change.title, change.metadata, limits)
    return change


def chosen_id(conversation: NewConversation) -> ConversationId | None:
    """The id that the client chose, if any. Raises Problem (422) for what is no UUID."""
    text = conversation.conversation_id
    return path_conversation(text) if text is not None else None


def first_state(conversation: NewConversation, *, at_ms: int, messages: Sequence[NewMessage] = ()) -> State:
    """The state a conversation begins with; without a title it takes one from its first user message."""
    title = conversation.title
    if title is None:
        text = next((message.text for message in messages if message.role == "user"), "")
        title = shorten(text, TITLE_CHARS) or None
    return State(
        title=title,
        model=conversation.model,
        metadata=metadata_json(conversation.metadata),
        created_at=isoformat_ms(at_ms),
    )


def _check(title: str | None, metadata: dict[str, Any] | None, limits: LimitsSettings) -> None:
    errors: list[FieldError] = []
    if title is not None and len(title) > limits.max_title_chars:
        text = f"has more than {limits.max_title_chars} characters (LIMITS_MAX_TITLE_CHARS)"
        errors.append(FieldError("title", text))
    kept = metadata_json(metadata)
    if len(kept) > limits.max_metadata_bytes:
        text = f"takes more than {limits.max_metadata_bytes} bytes (LIMITS_MAX_METADATA_BYTES)"
        errors.append(FieldError("metadata", text))
    if b"Infinity" in kept:
        found = infinities(metadata, ("metadata",))
        errors += [FieldError(field_name(path), "is too large a number") for path in found]
    if errors:
        raise invalid(*errors)

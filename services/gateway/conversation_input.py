"""A conversation's own fields as a client sends them: checked, made into the state that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter

from common.checks import conversations as checks
from common.checks.errors import FieldError
from common.checks.fields import validate
from common.domain.conversations import State
from common.domain.ids import ConversationId, isoformat_ms
from common.domain.messages import NewMessage
from common.settings import LimitsSettings
from services.gateway.operations import path_conversation
from services.gateway.problems import invalid
from services.gateway.schemas import ConversationChange, NewConversation

NEW_CONVERSATION: Final = TypeAdapter(NewConversation)
CHANGE: Final = TypeAdapter(ConversationChange)


def new_conversation(fields: object, limits: LimitsSettings) -> NewConversation:
    """Check what a conversation is made from. Raises Invalid."""
    conversation = validate(NEW_CONVERSATION, fields)
    checks.check_state(conversation.title, conversation.metadata, limits)
    return conversation


def conversation_change(fields: object, limits: LimitsSettings) -> ConversationChange:
    """Check a change. Raises Problem (422), also where it changes nothing."""
    change = validate(CHANGE, fields)
    if not change.model_fields_set:
        raise invalid(FieldError("body", "names nothing to change: title, model or metadata"))
    checks.check_state(change.title, change.metadata, limits)
    return change


def chosen_id(conversation: NewConversation) -> ConversationId | None:
    """The id that the client chose, if any. Raises Problem (422) for what is no UUID."""
    text = conversation.conversation_id
    return path_conversation(text) if text is not None else None


def first_state(conversation: NewConversation, *, at_ms: int, messages: Sequence[NewMessage] = ()) -> State:
    """The state a conversation begins with; without a title it takes one from its first user message."""
    return checks.first_state(
        title=conversation.title,
        model=conversation.model,
        metadata=conversation.metadata,
        created_at=isoformat_ms(at_ms),
        messages=messages,
    )

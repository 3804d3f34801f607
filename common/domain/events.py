"""The changes that can happen to a conversation: what stands on the log, contract version 1.

Each event carries the `version` of its conversation, a clock that goes up by one with every event.
Whoever applies events keeps, per row, the highest version seen: then any order and any number of
deliveries end in the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema, to_json

from common.domain.conversations import State
from common.domain.ids import CANONICAL_UUID, MAX_USER_ID_CHARS, ConversationId, MessageId, UserId
from common.domain.messages import BIGINT_MAX, MAX_ID_CHARS, Numbered, parse_body

CONTRACT_VERSION: Final = 1


class MessageBody(bytes):
    """A message's JSON object as bytes, never re-written; checked to be an object with an id.

    In an event written as JSON it is the object itself.
    """

    @property
    def fields(self) -> dict[str, Any]:
        """The parsed object; integers keep every digit."""
        return parse_body(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        shape = core_schema.typed_dict_schema(
            {"id": core_schema.typed_dict_field(core_schema.str_schema())}, extra_behavior="allow"
        )
        return core_schema.no_info_plain_validator_function(
            cls._check,
            json_schema_input_schema=shape,
            serialization=core_schema.plain_serializer_function_ser_schema(
                parse_body, return_schema=shape, when_used="json"
            ),
        )

    @classmethod
    def _check(cls, value: object) -> MessageBody:
        if isinstance(value, Mapping):
            value = to_json(value)
        if not isinstance(value, (bytes, str)):
            raise ValueError("must be a JSON object")
        body = cls(value.encode() if isinstance(value, str) else value)
        fields = body.fields
        if not isinstance(fields, dict) or not isinstance(fields.get("id"), str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("must be a JSON object with a text `id`")
        return body


Counter = Annotated[int, Field(ge=0, le=BIGINT_MAX)]
Owner = Annotated[UserId, Field(min_length=1, max_length=MAX_USER_ID_CHARS)]
ConversationUuid = Annotated[ConversationId, Field(pattern=CANONICAL_UUID)]
MessageName = Annotated[MessageId, Field(min_length=1, max_length=MAX_ID_CHARS)]
UnixMs = Annotated[
    int,
    Field(ge=0, le=253_402_300_799_999, description="When it happened, milliseconds since 1970 UTC."),
]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    user_id: Owner
    at_ms: UnixMs


class _ConversationEvent(_Event):
    conversation_id: ConversationUuid
    version: Counter
    epoch: Counter = 1


class ConversationCreated(_ConversationEvent):
    """A conversation began, with the state it has."""

    type: Literal["conversation.created"] = "conversation.created"
    state: State


class ConversationUpdated(_ConversationEvent):
    """Title, model or metadata changed; the whole resulting state, so that order does not matter."""

    type: Literal["conversation.updated"] = "conversation.updated"
    state: State


class ConversationDeleted(_ConversationEvent):
    """Final: nothing before or after it brings the conversation back."""

    type: Literal["conversation.deleted"] = "conversation.deleted"


class MessagesAppended(_ConversationEvent):
    """One or more messages, numbered from `first_sequence_number` without a gap."""

    type: Literal["messages.appended"] = "messages.appended"
    first_sequence_number: Counter
    bodies: Annotated[tuple[MessageBody, ...], Field(min_length=1)]

    @property
    def numbered(self) -> list[Numbered]:
        """The messages with their sequence numbers, in order."""
        return [Numbered(self.first_sequence_number + i, body) for i, body in enumerate(self.bodies)]


class MessageEdited(_ConversationEvent):
    """A message has this body from now on."""

    type: Literal["message.edited"] = "message.edited"
    message_id: MessageName
    sequence_number: Counter
    body: MessageBody


class MessageDeleted(_ConversationEvent):
    """A message is gone; its sequence number stays a gap."""

    type: Literal["message.deleted"] = "message.deleted"
    message_id: MessageName
    sequence_number: Counter


class ConversationTruncated(_ConversationEvent):
    """All messages after `after_sequence_number` (-1: all) and before `next_sequence_number` are gone."""

    type: Literal["conversation.truncated"] = "conversation.truncated"
    after_sequence_number: Annotated[int, Field(ge=-1, le=BIGINT_MAX)]
    next_sequence_number: Counter


class QueryLogged(_Event):
    """One query and how it went, for analytics; `log` is the client's JSON object."""

    type: Literal["query.logged"] = "query.logged"
    conversation_id: ConversationUuid | None = None
    log_id: str
    log: dict[str, Any]


ConversationEvent = (
    ConversationCreated
    | ConversationUpdated
    | ConversationDeleted
    | MessagesAppended
    | MessageEdited
    | MessageDeleted
    | ConversationTruncated
)
Event = Annotated[ConversationEvent | QueryLogged, Field(discriminator="type")]
EVENT: Final[TypeAdapter[ConversationEvent | QueryLogged]] = TypeAdapter(Event)

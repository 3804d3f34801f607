"""The objects of the HTTP API. They check requests and, as JSON Schema, document both directions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from common.checks.fields import Strict
from common.domain.messages import BIGINT_MAX, Message, ShortText, StoredMessage

ConversationUuid = Annotated[
    str, Field(json_schema_extra={"format": "uuid"}, description="A UUID written with its hyphens.")
]
Title = Annotated[str, StringConstraints(max_length=100_000)]
EXAMPLE_ID = "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"


class NewConversation(Strict):
    """A conversation to begin."""

    title: Title | None = None
    model: ShortText | None = None
    metadata: dict[str, Any] | None = None
    conversation_id: ConversationUuid | None = Field(
        default=None, description="Yours, to make the call idempotent; else one is assigned."
    )


class ConversationChange(Strict):
    """What to change; what is left out stays, null clears."""

    title: Title | None = None
    model: ShortText | None = None
    metadata: dict[str, Any] | None = None


class MessageBatch(Strict):
    """Messages to append together: all of them or none."""

    messages: list[Message] = Field(min_length=1, max_length=1000)


class Submission(Strict):
    """Messages, and the conversation that they go to or that they begin."""

    conversation_id: ConversationUuid | None = Field(
        default=None, description="An existing conversation; without it a new one is made."
    )
    title: Title | None = Field(
        default=None, description="Of the new conversation; else from its first user message."
    )
    model: ShortText | None = None
    metadata: dict[str, Any] | None = None
    messages: list[Message] = Field(min_length=1, max_length=1000)


class MessageChange(BaseModel):
    """What is to be other in a message: what is named is replaced whole, null too; the rest stays."""

    model_config = ConfigDict(extra="allow")

    role: ShortText | None = None
    content: str | list[str | dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None


class Truncation(Strict):
    """Where to cut."""

    after_sequence_number: Annotated[int, Field(strict=True, ge=-1, le=BIGINT_MAX)] = Field(
        description="The last message that stays; -1: none stays."
    )


class ConversationSummary(BaseModel):
    """A conversation in a list."""

    conversation_id: str
    title: str | None
    model: str | None
    created_at: str
    message_count: int
    preview: str | None = Field(description="The start of the last message that has text.")
    last_modified: str


class Conversation(ConversationSummary):
    """A conversation."""

    metadata: dict[str, Any]


class ConversationWithMessages(Conversation):
    """A conversation and its most recent messages, oldest first."""

    messages: list[StoredMessage]


class ExportedConversations(BaseModel):
    """All conversations of a user, each with all of its messages."""

    conversations: list[ConversationWithMessages]


class Pagination(BaseModel):
    """Where a page stands among all pages."""

    total: int
    page: int
    page_size: int
    total_pages: int
    has_next: bool
    has_prev: bool


class ConversationList(BaseModel):
    """Conversations, last modified first; with `page` a `pagination`, else a `next_cursor`."""

    conversations: list[ConversationSummary]
    next_cursor: str | None = Field(default=None, description="Send it as `cursor` for what follows.")
    pagination: Pagination | None = None


class MessageList(BaseModel):
    """Messages of a conversation; with `page` a `pagination`."""

    conversation_id: str
    messages: list[StoredMessage]
    pagination: Pagination | None = None


class AppendedMessages(BaseModel):
    """Messages as they are stored."""

    conversation_id: str
    messages: list[StoredMessage]
    position: str | None = Field(description="Of the event on the log; null where there is no log.")
    persisted: bool | None = Field(default=None, description="With `ack=persisted` only.")


class SnippetPart(BaseModel):
    """A piece of a message's text."""

    text: str = Field(description="As it was sent; to be escaped where it is shown as HTML.")
    match: bool = Field(description="Whether it is what was looked for.")


class SearchHit(BaseModel):
    """A message that was found."""

    conversation_id: str
    title: str | None = Field(description="Of the conversation.")
    sequence_number: int
    id: str
    role: str | None
    created_at: str
    score: float = Field(description="How good it is; to be compared within one search only.")
    snippet: list[SnippetPart] = Field(description="One after the other, the best stretch of its text.")


class SearchHits(BaseModel):
    """Messages that were found, best first."""

    hits: list[SearchHit]
    next_cursor: str | None = Field(description="Send it as `cursor`, with the same `q`, for what follows.")


class Me(BaseModel):
    """Who you are to this server."""

    user_id: str
    name: str
    identity: str = Field(description="`test-user`, `token`, `sso` or `service`.")
    department: str | None
    service: str | None = Field(description="The service that acts for this user, if one does.")
    scopes: list[str] | None = Field(description="What the service may do; null: you may do everything.")
    mode: str


class Health(BaseModel):
    """The state of this process, or of what it needs."""

    status: str
    checks: dict[str, str] = Field(default_factory=dict)


class ProblemError(BaseModel):
    """What is wrong with one field, query parameter or header."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str | None = None
    reason: str | None = Field(default=None, description="Why nobody was let in, for programs.")
    errors: list[ProblemError] | None = None

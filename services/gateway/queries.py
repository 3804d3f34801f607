"""Query parameters: one model per kind of list. An unknown parameter is an error, it may be a typo."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from falcon.asgi import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from common.checks.errors import FieldError
from common.checks.fields import field_errors
from common.domain.messages import BIGINT_MAX
from common.domain.search.wanted import MAX_QUERY_CHARS, MAX_TERMS
from services.gateway.problems import invalid

DEFAULT_LIMIT = 20
DEFAULT_PAGE_SIZE = 50
MAX_PAGE = 10_000_000
MAX_DAYS = 100_000

_WHOLE_NUMBERS = ("limit", "page", "page_size", "days", "before", "after")
_DIGITS = re.compile(r"-?[0-9]+")

Page = Annotated[int, Field(ge=1, le=MAX_PAGE)]
SequenceBound = Annotated[int, Field(ge=-1, le=BIGINT_MAX)]


class Query(BaseModel):
    """No parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator(*_WHOLE_NUMBERS, mode="before", check_fields=False)
    @classmethod
    def _only_digits(cls, sent: object) -> object:
        """pydantic would also take `1_0`, ` 5` and `5.0`."""
        if isinstance(sent, str) and not _DIGITS.fullmatch(sent):
            raise ValueError("must be a whole number")
        return sent


class AppendQuery(Query):
    """Parameters of an append."""

    ack: Literal["log", "persisted"] = Field(
        default="log",
        description="`log`: reply when the log has it. `persisted`: wait for PostgreSQL; 202 and"
        ' `"persisted": false` when that takes too long, the messages are safe on the log all the same.',
    )


class _Paged(Query):
    page: Page | None = Field(default=None, description="From 1; gives a `pagination`.")
    page_size: int | None = Field(default=None, ge=1, description="Default 50, at most 500.")

    @property
    def paged(self) -> bool:
        """Whether a page was asked for."""
        return self.page is not None or self.page_size is not None

    def size(self, largest: int) -> int:
        """How many items a page has. Raises Problem (422) over `largest`."""
        size = self.page_size or DEFAULT_PAGE_SIZE
        if size > largest:
            raise invalid(FieldError("page_size", f"At most {largest}"))
        return size

    def refuse_mixing(self, *names: str) -> None:
        """Raise Problem (422) for any of `names` next to `page` or `page_size`."""
        mixed = [name for name in names if name in self.model_fields_set]
        if mixed:
            raise invalid(*(FieldError(name, "Does not go with page and page_size") for name in mixed))


class ConversationsQuery(_Paged):
    """Parameters of the list of conversations: `limit` and `cursor`, or `page` and `page_size`."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=100)
    cursor: str | None = Field(default=None, min_length=1, max_length=200)
    days: int | None = Field(
        default=None,
        ge=0,
        le=MAX_DAYS,
        description="Only what was modified in the last `days` days; 0: all. Without it the server's"
        " `CONVERSATION_HISTORY_DAYS`, which is 7 where nobody has set it.",
    )


class ExportQuery(Query):
    """Parameters of an export."""

    format: Literal["json", "jsonl", "markdown"] = Field(
        default="json",
        description="`json`: one document. `jsonl`: what `turnlog import` reads; a long conversation takes"
        " several lines. `markdown`: for people.",
    )


class ConversationQuery(Query):
    """Parameters of one conversation."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, description="How many messages; at most 1000.")


class MessagesQuery(_Paged):
    """Parameters of a conversation's messages.

    `limit` alone: the most recent. `before`/`after` (sequence numbers, exclusive): a window of at most
    `limit`, with `after` its first, with `before` alone its last. `page`/`page_size`: the full history.
    """

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, description="At most 1000.")
    before: SequenceBound | None = Field(default=None, description="Sequence number, exclusive.")
    after: SequenceBound | None = Field(default=None, description="Sequence number, exclusive.")
    order: Literal["asc", "desc"] = Field(default="asc", description="`asc`: oldest first.")


class SearchQuery(Query):
    """Parameters of a search."""

    q: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARS,
        description=f'Words that a message must have, all of them; `"several in their order"`; `begin*`.'
        f" At most {MAX_TERMS} words.",
    )
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=100)
    cursor: str | None = Field(default=None, min_length=1, max_length=300)


def within(limit: int, largest: int) -> int:
    """`limit`. Raises Problem (422) over `largest`, which settings decide."""
    if limit > largest:
        raise invalid(FieldError("limit", f"At most {largest}"))
    return limit


def parse_query(adapter: TypeAdapter[Any], req: Request) -> Any:
    """The request's query parameters as the adapter's model. Raises Problem (422)."""
    params = req.params
    try:
        return adapter.validate_python(params)
    except ValidationError as error:
        raise invalid(*field_errors(error, params)) from error

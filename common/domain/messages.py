"""One message: how it is checked, written down, compared and previewed.

A message travels as its *body*: the JSON object the client sent, compact, with `id` and `created_at`
added where absent. The log assigns the sequence number, which is put in front when it is served:
`{"sequence_number":N,` + body[1:]. Nothing parses and re-writes a body on its way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, cast

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError, from_json, to_json

from common.domain.ids import MessageId, isoformat_ms, new_message_id

PREVIEW_CHARS: Final = 120
TITLE_CHARS: Final = 80
MAX_ID_CHARS: Final = 200
BIGINT_MAX: Final = 2**63 - 1

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z")
_WHITE = re.compile(r"\s+")
_EMPTY: Final = "A message needs at least one field besides id, created_at and sequence_number"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp(text: str) -> datetime:
    """RFC 3339 `text` as an aware UTC datetime (microseconds; further digits are cut).

    Raises ValueError where it is no such time or lies outside the years 1 to 9999 in UTC.
    """
    if not _RFC3339.match(text):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")
    fraction = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
    try:
        return datetime.fromisoformat(fraction).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from error


def timestamp_ms(text: str) -> int:
    """RFC 3339 `text` as milliseconds since 1970 UTC, cut; negative before. Raises ValueError."""
    return (parse_timestamp(text) - _EPOCH) // timedelta(milliseconds=1)


def _checked_timestamp(text: str) -> str:
    parse_timestamp(text)
    return text


Timestamp = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_checked_timestamp),
    Field(json_schema_extra={"format": "date-time"}),
]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]


class Message(BaseModel):
    """One turn or item as a client sends it. Fields not named here are kept exactly as sent."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [{"role": "user", "content": "What is the weather in Paris?"}],
        },
    )

    id: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)] | None = Field(
        default=None, description="Yours, to make the append idempotent; else one is assigned."
    )
    role: ShortText | None = Field(
        default=None, description="user, assistant, system, tool, …; items may have none."
    )
    content: str | list[str | dict[str, Any]] | None = Field(
        default=None, description="Text, a list of parts, or null."
    )
    created_at: Timestamp | None = Field(default=None, description="RFC 3339; else now.")
    tokens_used: Annotated[int, Field(ge=0, le=BIGINT_MAX)] | None = None
    latency_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    model: ShortText | None = None
    name: ShortText | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: ShortText | None = None
    metadata: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Message:
        sent = {*self.model_fields_set, *(self.model_extra or ())}
        if not sent - {"id", "created_at", "sequence_number"}:
            raise PydanticCustomError("empty_message", _EMPTY)
        return self


class StoredMessage(BaseModel):
    """A message as it is served: what the client sent, and what Turnlog assigned."""

    model_config = ConfigDict(extra="allow")

    sequence_number: int = Field(ge=0)
    id: str
    created_at: str
    role: str | None = None
    content: str | list[str | dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A checked message, ready for the log.

    `body` is the JSON to store; `digest` tells whether two bodies are the same; `id_given` says that the
    id is not fresh, so that it may stand in the record already.
    """

    id: MessageId
    body: bytes
    digest: str
    id_given: bool
    text: str
    role: str | None


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message body with its place in the conversation."""

    sequence_number: int
    body: bytes

    @property
    def served(self) -> bytes:
        """The JSON object a client receives."""
        return b'{"sequence_number":%d,%b' % (self.sequence_number, self.body[1:])


def numbered(served: bytes) -> Numbered:
    """The inverse of `Numbered.served`: split a cached list's element without parsing it."""
    comma = served.index(b",")
    return Numbered(int(served[len(b'{"sequence_number":') : comma]), b"{" + served[comma + 1 :])


def new_message(fields: dict[str, Any], *, at_ms: int, default_id: MessageId | None = None) -> NewMessage:
    """Make a message ready from validated client `fields` (see `Message`).

    A client's `sequence_number` is left out: it is always ours. A null or absent `id` and
    `created_at` are assigned, the id from `default_id` where there is one.
    """
    kept = {key: value for key, value in fields.items() if key != "sequence_number"}
    given = kept.get("id")
    for key in ("id", "created_at"):
        if kept.get(key) is None:
            kept.pop(key, None)
    message_id = MessageId(given) if given else default_id or new_message_id()
    kept["id"] = message_id
    digest = body_digest(kept)
    kept.setdefault("created_at", isoformat_ms(at_ms))
    return NewMessage(
        id=message_id,
        body=to_json(kept),
        digest=digest,
        id_given=given is not None or default_id is not None,
        text=message_text(kept.get("content")),
        role=kept.get("role"),
    )


def changed_fields(stored: bytes, change: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the message with body `stored` as a client's `change` makes them: what that names is
    replaced whole, the rest stays. Its id never changes, and its time only where another is given."""
    given = {
        key: value
        for key, value in change.items()
        if key not in ("id", "sequence_number") and not (key == "created_at" and value is None)
    }
    return {**parse_body(stored), **given}


def body_digest(fields: dict[str, Any]) -> str:
    """16 hex digits that are equal for equal JSON, whatever the order of its keys."""
    try:
        canonical = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer over 64 bits: rare, legal, and not orjson's
        canonical = json.dumps(fields, sort_keys=True).encode()
    return hashlib.blake2b(canonical, digest_size=8).hexdigest()


def same_as_stored(sent: NewMessage, stored_body: bytes) -> bool:
    """Whether `sent` is the message that was stored, its assigned time left aside."""
    stored = parse_body(stored_body)
    if body_digest(stored) == sent.digest:
        return True
    return body_digest({k: v for k, v in stored.items() if k != "created_at"}) == sent.digest


def parse_body(body: bytes) -> dict[str, Any]:
    """A stored body as a dict; integers keep every digit."""
    return cast(dict[str, Any], from_json(body))


def message_text(content: object) -> str:
    """The readable text of a message's content: the string itself, or its text parts joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts: list[str] = []
    for part in cast(list[object], content):
        text = cast(dict[str, object], part).get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
    return " ".join(texts)


def shorten(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters, an ellipsis where it was cut."""
    line = _WHITE.sub(" ", text[: limit * 8]).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def preview_of(texts: list[str]) -> str | None:
    """The preview that messages with these `texts` leave behind: the last that says something."""
    for text in reversed(texts):
        if line := shorten(text, PREVIEW_CHARS):
            return line
    return None

"""A conversation's header as the functions pass it: a list of fields, JSON literals for text.

The order is that of FIELDS in `lua/shared.lua` (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from pydantic_core import from_json, to_json

from common.domain.conversations import Header, State
from common.domain.ids import ConversationId

HEADER_FIELDS: Final = (
    *("title", "model", "metadata", "created", "modified", "next", "count", "preview"),
    *("version", "epoch", "deleted", "ids_from"),
)


def header_from_reply(conversation: ConversationId, fields: Sequence[bytes]) -> Header:
    """The header that a function replied with."""
    title, model, metadata, created, modified, next_, count, preview, version, epoch, deleted, _ = fields
    return Header(
        id=conversation,
        state=State(_text(title), _text(model), metadata, cast(str, from_json(created))),
        last_modified_ms=int(modified),
        next_sequence_number=int(next_),
        message_count=int(count),
        preview=_text(preview),
        version=int(version),
        epoch=int(epoch),
        deleted=deleted == b"1",
    )


def header_arguments(header: Header) -> list[bytes]:
    """The inverse, for a header whose messages are all in PostgreSQL or pending under known ids."""
    state = header.state
    numbers = header.next_sequence_number
    return [
        to_json(state.title),
        to_json(state.model),
        state.metadata,
        to_json(state.created_at),
        b"%d" % header.last_modified_ms,
        b"%d" % numbers,
        b"%d" % header.message_count,
        to_json(header.preview),
        b"%d" % header.version,
        b"%d" % header.epoch,
        b"1" if header.deleted else b"0",
        b"%d" % numbers,
    ]


def _text(literal: bytes) -> str | None:
    return cast("str | None", from_json(literal))

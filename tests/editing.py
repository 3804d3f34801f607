"""What tests of changed messages say to an editor."""

from __future__ import annotations

from typing import Any

from common.domain.messages import NewMessage, changed_fields, new_message, numbered, parse_body
from common.domain.publishing import Revise
from tests.redis_parts import NOW


def says(content: object) -> Revise:
    """The edit that makes a message say `content`."""

    def revise(stored: bytes) -> NewMessage:
        return new_message(changed_fields(stored, {"content": content}), at_ms=NOW)

    return revise


def named(count: int, first: int = 0) -> list[NewMessage]:
    """Messages whose ids are m0, m1, … and which say the same."""
    return [
        new_message({"id": f"m{n}", "role": "user", "content": f"m{n}"}, at_ms=NOW)
        for n in range(first, first + count)
    ]


def told(served: list[bytes]) -> dict[int, Any]:
    """What messages say, by their numbers, in the order that they have."""
    return {numbered(message).sequence_number: parse_body(message)["content"] for message in served}

"""The user of a request, and how we know."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.domain.ids import UserId

MAX_USER_ID_CHARS: Final = 200


class IdentityKind(StrEnum):
    """What says who the user is."""

    TEST_USER = "test-user"
    TOKEN = "token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, the name to show, and the kind of identity. `department` is a token's `dept`."""

    user_id: UserId
    name: str
    kind: IdentityKind
    department: str | None = None


def parse_user_id(value: object) -> UserId | None:
    """`value` as a user id that both stores can keep, or None.

    Text of 1 to 200 characters, none of them a control character or half of a surrogate pair.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_USER_ID_CHARS:
        return None
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        return None
    return UserId(value)

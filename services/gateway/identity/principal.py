"""The user of a request, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.domain.ids import UserId


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

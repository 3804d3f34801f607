"""The user of a request, how we know, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.domain.ids import UserId
from common.identity.scopes import Scope


class IdentityKind(StrEnum):
    """What says who the user is."""

    TEST_USER = "test-user"
    TOKEN = "token"  # noqa: S105
    SSO = "sso"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, the name to show, and the kind of identity. `department` is a token's `dept`.

    `service` is the service that acts for the user, if one does, and `scopes` what it may do; None: all.
    What lasts longer than a request ends at `expires` (seconds since 1970), when its token does.
    """

    user_id: UserId
    name: str
    kind: IdentityKind
    department: str | None = None
    service: str | None = None
    scopes: frozenset[Scope] | None = None
    expires: float | None = None

    def may(self, scope: Scope) -> bool:
        """Whether this user, or the service that acts for them, may do what needs `scope`."""
        return self.scopes is None or scope in self.scopes or Scope.ADMIN in self.scopes

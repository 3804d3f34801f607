"""Why a request is not let in: the class of the reason, and the reply that tells it.

A reply names what is wrong, never a part of what was sent or of what we compare it with.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from common.checks.errors import FieldError
from common.identity.scopes import Scope
from services.gateway.problems import BAD_REQUEST, FORBIDDEN, UNAUTHENTICATED, Problem

AUTHORIZATION: Final = "Authorization"


class Reason(StrEnum):
    """The class of a refusal: `reason` in the reply and in the log."""

    NO_CREDENTIALS = "no-credentials"
    FOREIGN_HOST = "foreign-host"
    NOT_BEARER = "not-a-bearer-token"
    TOKENS_NOT_ACCEPTED = "tokens-not-accepted"
    REPEATED_HEADER = "repeated-header"
    MALFORMED_TOKEN = "malformed-token"  # noqa: S105
    TOKEN_TOO_LONG = "token-too-long"  # noqa: S105
    ALGORITHM = "algorithm-not-accepted"
    BROUGHT_KEY = "key-in-token"
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "bad-signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    AUDIENCE = "wrong-audience"
    ISSUER = "wrong-issuer"
    MISSING_CLAIM = "missing-claim"
    INVALID_CLAIM = "invalid-claim"
    SSO_NOT_ACCEPTED = "sso-not-accepted"
    UNTRUSTED_PROXY = "untrusted-proxy"
    INVALID_SSO = "invalid-sso-header"
    TWO_IDENTITIES = "two-identities"
    MAY_NOT_ACT = "may-not-act-for-users"
    INVALID_USER = "invalid-user"
    SCOPE = "insufficient-scope"


class InvalidToken(Exception):
    """A token that proves nothing; the text says why and may be shown to its sender."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def unauthenticated(reason: Reason, text: str, *, field: str = AUTHORIZATION) -> Problem:
    """A 401 where no usable token was sent: by RFC 6750 its challenge names no error."""
    return Problem(
        UNAUTHENTICATED, text, errors=[FieldError(field, text)], headers=_challenge(), reason=reason
    )


def invalid_token(error: InvalidToken) -> Problem:
    """A 401 for a token that was looked at and refused."""
    text = f"Refused: {error}"
    return Problem(
        UNAUTHENTICATED,
        text,
        errors=[FieldError(AUTHORIZATION, text)],
        headers=_challenge('error="invalid_token"'),
        reason=error.reason,
    )


def repeated(header: str) -> Problem:
    """A 400: which of two values somebody else would have believed cannot be known."""
    text = "Sent more than once"
    return Problem(
        BAD_REQUEST,
        f"{header}: {text}",
        errors=[FieldError(header, text)],
        headers=_challenge('error="invalid_request"'),
        reason=Reason.REPEATED_HEADER,
    )


def forbidden(reason: Reason, text: str, *, field: str) -> Problem:
    """A 403 for something that this identity may not do."""
    return Problem(FORBIDDEN, text, errors=[FieldError(field, text)], reason=reason)


def insufficient_scope(needed: Scope) -> Problem:
    """A 403 that names the scope which a token would need."""
    text = f"The token needs the scope {needed}"
    return Problem(
        FORBIDDEN,
        text,
        errors=[FieldError(AUTHORIZATION, text)],
        headers=_challenge(f'error="insufficient_scope", scope="{needed}"'),
        reason=Reason.SCOPE,
    )


def _challenge(more: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="turnlog"{", " if more else ""}{more}'}

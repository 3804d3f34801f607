"""Bearer tokens: a JWT signed with our secret says who the user is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import jwt

from common.domain.errors import UnsafeConfiguration
from common.domain.ids import parse_user_id
from common.settings import IdentitySettings
from services.gateway.identity.principal import IdentityKind, Principal

MIN_SECRET_BYTES: Final = 32
MAX_TOKEN_CHARS: Final = 8192
REMEMBERED_TOKENS: Final = 1024
REQUIRED_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub")
SUPPORTED_ALGORITHMS: Final = frozenset({"HS256"})


class InvalidToken(Exception):
    """A token that proves nothing; the text says why and may be shown to its sender."""


class TokenVerifier:
    """Checks HS256 tokens; remembers the verdict on the last valid ones until they expire.

    Raises UnsafeConfiguration for a short secret or an algorithm that is not supported.
    """

    def __init__(self, settings: IdentitySettings, *, clock: Callable[[], float] = time.time) -> None:
        secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise UnsafeConfiguration(f"JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes")
        unknown = set(settings.jwt_algorithms) - SUPPORTED_ALGORITHMS
        if unknown or not settings.jwt_algorithms:
            raise UnsafeConfiguration(f"JWT_ALGORITHMS may only name {', '.join(SUPPORTED_ALGORITHMS)}")
        self._secret = secret
        self._settings = settings
        self._clock = clock
        self._known: dict[str, tuple[Principal, float]] = {}

    def verify(self, token: str) -> Principal:
        """The user that `token` proves. Raises InvalidToken."""
        known = self._known.get(token)
        if known is not None:
            principal, expires = known
            if self._clock() < expires:
                return principal
            del self._known[token]
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("the token is too long")
        claims = self._claims(token)
        principal = self._principal(claims)
        self._remember(token, principal, float(claims["exp"]) + self._settings.jwt_leeway_seconds)
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                token,
                self._secret,
                algorithms=list(self._settings.jwt_algorithms),
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=self._settings.jwt_leeway_seconds,
                options={"require": list(REQUIRED_CLAIMS)},
            )
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken("the token has expired") from error
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"the token has no {error.claim!r} claim") from error
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError) as error:
            raise InvalidToken("the token was made for or by somebody else") from error
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError) as error:
            raise InvalidToken("the token is not valid yet") from error
        # PyJWT lets ValueError, OverflowError and RecursionError out for some malformed claims.
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken("the token is not valid") from error

    def _principal(self, claims: dict[str, Any]) -> Principal:
        claim = self._settings.jwt_user_claim
        user = parse_user_id(claims.get(claim))
        if user is None:
            raise InvalidToken(f"the token's {claim!r} claim is not a user id")
        name, department = claims.get("name"), claims.get("dept")
        return Principal(
            user_id=user,
            name=name if isinstance(name, str) else user,
            kind=IdentityKind.TOKEN,
            department=department if isinstance(department, str) else None,
        )

    def _remember(self, token: str, principal: Principal, expires: float) -> None:
        if len(self._known) >= REMEMBERED_TOKENS:
            del self._known[next(iter(self._known))]  # the one that came first
        self._known[token] = principal, expires

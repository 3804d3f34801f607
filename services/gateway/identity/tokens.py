"""Bearer tokens: a JWT that is signed with a key we know says who the user is, or which service it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, cast

import jwt

from common.domain.ids import parse_user_id
from common.identity.scopes import Scope
from common.settings import IdentitySettings
from services.gateway.identity.keyring import Key, KeyRing
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.refusals import InvalidToken, Reason
from services.gateway.identity.verdicts import Verdicts

MAX_TOKEN_CHARS: Final = 8192
MAX_KEY_ID_CHARS: Final = 256
REQUIRED_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub")
NUMERIC_CLAIMS: Final = ("exp", "iat", "nbf")
LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999: what is later is no date."""
BROUGHT_KEYS: Final = ("jwk", "jku", "x5u", "x5c")
"""Headers by which a token would say itself with which key it is to be checked."""
TYPES: Final = ("jwt", "at+jwt")


class TokenVerifier:
    """Checks tokens; remembers the verdict on good ones until they expire or the keys change."""

    def __init__(
        self, settings: IdentitySettings, keys: KeyRing, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._verdicts = Verdicts(clock=clock)

    async def verify(self, token: str) -> Principal:
        """The user or service that `token` proves. Raises InvalidToken, and Busy while keys are missing."""
        known = self._verdicts.get(token, self._keys.edition())
        if known is not None:
            return known
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken(
                Reason.TOKEN_TOO_LONG, f"the token is longer than {MAX_TOKEN_CHARS} characters"
            )
        algorithm, key_id = self._header(token)
        key = await self._keys.find(algorithm, key_id)
        edition = self._keys.edition()
        principal = self._principal(self._claims(token, algorithm, key))
        if principal.expires is not None:
            self._verdicts.keep(token, edition, principal, principal.expires)
        return principal

    def _header(self, token: str) -> tuple[str, str | None]:
        """The algorithm, one that is accepted, and the key id. Nothing else in the header counts."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise InvalidToken(Reason.MALFORMED_TOKEN, "the token is not a JWT") from error
        algorithm, kind, key_id = header.get("alg"), header.get("typ", "JWT"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._settings.jwt_algorithms:
            raise InvalidToken(Reason.ALGORITHM, "the token's algorithm is not accepted")
        if any(name in header for name in BROUGHT_KEYS):
            raise InvalidToken(Reason.BROUGHT_KEY, "the token brings or names a key of its own")
        if "crit" in header or "b64" in header:
            raise InvalidToken(Reason.MALFORMED_TOKEN, "the token needs an extension that is not supported")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
            raise InvalidToken(Reason.MALFORMED_TOKEN, "the token is not an access token")
        if key_id is not None and len(key_id) > MAX_KEY_ID_CHARS:
            raise InvalidToken(Reason.UNKNOWN_KEY, "the token is signed with a key that is not known")
        return algorithm, key_id

    def _claims(self, token: str, algorithm: str, key: Key) -> dict[str, Any]:
        settings = self._settings
        try:
            claims = jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                token,
                key,
                algorithms=[algorithm],
                audience=(settings.jwt_audience, settings.jwt_service_audience),
                issuer=settings.jwt_issuer,
                leeway=settings.jwt_leeway_seconds,
                options={"require": list(REQUIRED_CLAIMS), "enforce_minimum_key_length": True},
            )
        except jwt.InvalidSignatureError as error:
            raise InvalidToken(Reason.SIGNATURE, "the token's signature is wrong") from error
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken(Reason.EXPIRED, "the token has expired") from error
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(Reason.MISSING_CLAIM, f"the token has no {error.claim!r} claim") from error
        except jwt.InvalidAudienceError as error:
            raise InvalidToken(Reason.AUDIENCE, "the token was made for somebody else") from error
        except jwt.InvalidIssuerError as error:
            raise InvalidToken(Reason.ISSUER, "the token was made by somebody else") from error
        except jwt.ImmatureSignatureError as error:
            raise InvalidToken(Reason.NOT_YET_VALID, "the token is not valid yet") from error
        # PyJWT lets ValueError, OverflowError and RecursionError out for some malformed claims.
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken(Reason.INVALID_CLAIM, "the token's claims are not valid") from error
        _refuse_dates_that_are_none(claims)
        return claims

    def _principal(self, claims: dict[str, Any]) -> Principal:
        settings = self._settings
        service = _names(claims["aud"], settings.jwt_service_audience)
        if service and _names(claims["aud"], settings.jwt_audience):
            raise InvalidToken(Reason.AUDIENCE, "the token is for users and for services at once")
        claim = "sub" if service else settings.jwt_user_claim
        user = parse_user_id(claims.get(claim))
        if user is None:
            raise InvalidToken(Reason.INVALID_CLAIM, f"the token's {claim!r} claim is not a user id")
        return Principal(
            user_id=user,
            name=parse_user_id(claims.get("name")) or user,
            kind=IdentityKind.SERVICE if service else IdentityKind.TOKEN,
            department=parse_user_id(claims.get("dept")),
            service=user if service else None,
            scopes=self._scopes(claims) if service else None,
            expires=float(claims["exp"]) + settings.jwt_leeway_seconds,
        )

    def _scopes(self, claims: dict[str, Any]) -> frozenset[Scope]:
        """Those of ours among a token's scopes; others are somebody else's."""
        value = claims.get(self._settings.jwt_scope_claim)
        listed = value.split() if isinstance(value, str) else value
        if not isinstance(listed, list):
            raise InvalidToken(
                Reason.INVALID_CLAIM, f"a service's token needs a {self._settings.jwt_scope_claim!r} claim"
            )
        return frozenset(scope for scope in Scope if scope in cast("list[Any]", listed))


def _refuse_dates_that_are_none(claims: dict[str, Any]) -> None:
    """PyJWT takes text and truth values for numbers; a date beyond the calendar would outlive every key."""
    for name in NUMERIC_CLAIMS:
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_SECOND:
            raise InvalidToken(Reason.INVALID_CLAIM, f"the token's {name!r} claim is not a date")


def _names(audience: str | list[str], wanted: str) -> bool:
    return audience == wanted if isinstance(audience, str) else wanted in audience

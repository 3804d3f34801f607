"""Minting bearer tokens: what the gateway checks (services/gateway/identity), made here for people."""

from __future__ import annotations

import time

import jwt

from common.settings import IdentitySettings

DEFAULT_LIFETIME_SECONDS = 86_400


def mint_token(
    settings: IdentitySettings,
    user: str,
    *,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
    now: float | None = None,
) -> str:
    """A token that says its bearer is `user`, valid from `now` (unix seconds) for `lifetime_seconds`.

    Raises ValueError where there is no secret to sign with, or `user` could not be a user id.
    """
    if settings.jwt_secret is None:
        raise ValueError("JWT_SECRET is not set")
    if not 1 <= len(user) <= 200 or not user.isprintable():
        raise ValueError("a user id is 1 to 200 printable characters")
    issued = int(time.time() if now is None else now)
    claims = {
        "sub": user,
        # A gateway that reads the user from another claim finds it there too.
        settings.jwt_user_claim: user,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": issued,
        "exp": issued + lifetime_seconds,
    }
    secret = settings.jwt_secret.get_secret_value()
    return jwt.encode(claims, secret, algorithm=settings.jwt_algorithms[0])  # pyright: ignore[reportUnknownMemberType]

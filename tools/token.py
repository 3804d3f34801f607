"""`turnlog token`: a bearer token for the running instance, so that several users can be tried.

What is minted here the gateway checks (services/gateway/identity).
"""

import time
from typing import Annotated

import jwt
import typer

from common.settings import IdentitySettings
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir

DEFAULT_LIFETIME_SECONDS = 86_400


def token(
    user: Annotated[str, typer.Option(help="Whose token: any user id.")],
    hours: Annotated[float, typer.Option(min=0.01, help="For how long it is valid.")] = 24,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print a token that says its bearer is USER. Send it as `Authorization: Bearer …`."""
    identity = load_instance(data_dir).identity
    try:
        print(mint_token(identity, user, lifetime_seconds=int(hours * 3600)))
    except ValueError as error:
        raise CommandError(str(error)) from None


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

"""`turnlog token`: a bearer token for the running instance, for a user or for a service.

What is minted here the gateway checks (services/gateway/identity).
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from common.identity.scopes import Scope
from common.settings import IdentitySettings
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir

DEFAULT_LIFETIME_SECONDS = 86_400
_SIGNED_WITH = "HS256"


def token(
    user: Annotated[str | None, typer.Option(help="Whose token: any user id.")] = None,
    service: Annotated[str | None, typer.Option(help="Or a service's, which may act for any user.")] = None,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What the service may do; give it once for each.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="For how long it is valid.")] = 24,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print a token that says its bearer is USER or SERVICE. Send it as `Authorization: Bearer …`."""
    if (user is None) == (service is None) or (service is None) != (not scope):
        raise CommandError("give --user, or --service with at least one --scope (publish, read, admin)")
    identity = load_instance(data_dir).identity
    lifetime = int(hours * 3600)
    try:
        if service is not None:
            print(mint_service_token(identity, service, scope or (), lifetime_seconds=lifetime))
        else:
            print(mint_token(identity, user or "", lifetime_seconds=lifetime))
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

    Raises ValueError where no token of ours would be accepted, or `user` could not be a user id.
    """
    # A gateway that reads the user from another claim finds it there too.
    claims = {"sub": user, settings.jwt_user_claim: user, "aud": settings.jwt_audience}
    return _sign(settings, claims, lifetime_seconds, now)


def mint_service_token(
    settings: IdentitySettings,
    service: str,
    scopes: Sequence[str],
    *,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
    now: float | None = None,
) -> str:
    """The same for a service with `scopes`."""
    claims = {"sub": service, "aud": settings.jwt_service_audience}
    return _sign(settings, {**claims, settings.jwt_scope_claim: " ".join(scopes)}, lifetime_seconds, now)


def _sign(
    settings: IdentitySettings, claims: dict[str, Any], lifetime_seconds: int, now: float | None
) -> str:
    import jwt  # noqa: PLC0415 - with all its cryptography, which no other command needs

    if _SIGNED_WITH not in settings.jwt_algorithms:
        accepted = ", ".join(settings.jwt_algorithms)
        raise ValueError(f"only tokens of the issuer are accepted here (JWT_ALGORITHMS={accepted})")
    if settings.jwt_secret is None:
        raise ValueError("JWT_SECRET is not set")
    subject = claims["sub"]
    if not 1 <= len(subject) <= 200 or not subject.isprintable():
        raise ValueError("a user id is 1 to 200 printable characters")
    issued = int(time.time() if now is None else now)
    dated = {**claims, "iss": settings.jwt_issuer, "iat": issued, "exp": issued + lifetime_seconds}
    return jwt.encode(dated, settings.jwt_secret.get_secret_value(), algorithm=_SIGNED_WITH)  # pyright: ignore[reportUnknownMemberType]

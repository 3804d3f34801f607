"""From what a request says about its sender to the user, in each mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from common.domain.errors import UnsafeConfiguration
from common.domain.ids import parse_user_id
from common.identity.safety import is_loopback, refuse_unsafe_identity
from common.settings import Settings
from services.gateway.health import Probe
from services.gateway.identity.credentials import ACT_FOR, SSO_ID, Credentials
from services.gateway.identity.key_sets import IssuersKeys
from services.gateway.identity.keyring import KeyRing, own_keys
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.proxies import TrustedProxies
from services.gateway.identity.refusals import (
    InvalidToken,
    Reason,
    forbidden,
    invalid_token,
    unauthenticated,
)
from services.gateway.identity.tokens import TokenVerifier
from services.gateway.lifespan import in_background

_LONGEST_QUOTED: Final = 4096


class Authenticator:
    """Tells who sent a request: the user of its token, whom a trusted proxy names, or the test user.

    What is sent counts in every mode, so a bad token is never taken for the test user.
    """

    def __init__(
        self,
        verifier: TokenVerifier | None,
        proxies: TrustedProxies | None = None,
        test_user: Principal | None = None,
        *,
        test_user_anywhere: bool = False,
    ) -> None:
        self._verifier = verifier
        self._proxies = proxies
        self._test_user = test_user
        self._test_user_anywhere = test_user_anywhere

    async def identify(self, found: Credentials) -> Principal:
        """The user behind `found`.

        Raises Problem (401, or 403 for acting without leave) where there is none, and Busy while the keys
        to check a token with are missing.
        """
        if found.sso:
            who = await self._from_proxy(found)
        elif found.authorization is not None:
            who = await self._bearer(found.authorization)
        else:
            who = self._without_credentials(found.host)
        return who if found.act_for is None else _acting_for(who, found.act_for)

    async def _from_proxy(self, found: Credentials) -> Principal:
        if self._proxies is None:
            raise unauthenticated(Reason.SSO_NOT_ACCEPTED, "SSO headers are not accepted here", field=SSO_ID)
        named = self._proxies.identify(found)
        if found.authorization is None:
            return named
        # Some proxies pass a token on as well. It counts, too, and must not be another user's.
        proven = await self._bearer(found.authorization)
        if proven.user_id != named.user_id:
            raise unauthenticated(Reason.TWO_IDENTITIES, "The token and the proxy name two users")
        return proven

    async def _bearer(self, authorization: str) -> Principal:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated(Reason.NOT_BEARER, "Send `Bearer` and a token")
        if self._verifier is None:
            raise unauthenticated(
                Reason.TOKENS_NOT_ACCEPTED, "No key is set to check tokens with (JWT_SECRET, JWT_JWKS_URL)"
            )
        try:
            return await self._verifier.verify(token)
        except InvalidToken as error:
            raise invalid_token(error) from error

    def _without_credentials(self, host: str | None) -> Principal:
        if self._test_user is None:
            raise unauthenticated(Reason.NO_CREDENTIALS, "A bearer token is needed")
        # A web page anywhere can have its own name resolved to this machine; the browser then sends
        # that name as the host, and must not be let in as the test user.
        if not self._test_user_anywhere and not is_loopback(_host_name(host or "")):
            reason = "Without a token only requests to localhost are answered"
            raise unauthenticated(Reason.FOREIGN_HOST, reason, field="Host")
        return self._test_user


def _acting_for(who: Principal, quoted: str) -> Principal:
    """The user that a service acts for, named percent-encoded. Raises Problem (403)."""
    if who.service is None:
        raise forbidden(Reason.MAY_NOT_ACT, "Only a service's token may act for a user", field=ACT_FOR)
    user = None
    if len(quoted) <= _LONGEST_QUOTED and quoted.isascii():
        user = parse_user_id(unquote(quoted, errors="surrogateescape"))
    if user is None:
        raise forbidden(Reason.INVALID_USER, "Not a user id (UTF-8, percent-encoded)", field=ACT_FOR)
    return replace(who, user_id=user, name=user)


def make_authenticator(settings: Settings, issuer: IssuersKeys | None = None) -> Authenticator:
    """The authenticator that `settings` ask for. Raises UnsafeConfiguration where it would let people in.

    `issuer` holds the keys where the settings name a key set.
    """
    refuse_unsafe_identity(settings)
    identity = settings.identity
    keys = own_keys(identity)
    verifier = TokenVerifier(identity, KeyRing(keys, issuer)) if keys or issuer is not None else None
    if not settings.mode.has_test_user:
        proxies = TrustedProxies(identity.sso_trusted_proxies) if identity.sso_enabled else None
        return Authenticator(verifier, proxies)
    user = parse_user_id(identity.local_test_client_id)
    if user is None:
        raise UnsafeConfiguration("LOCAL_TEST_CLIENT_ID is not a user id")
    return Authenticator(
        verifier,
        test_user=Principal(user, identity.local_test_username, IdentityKind.TEST_USER),
        test_user_anywhere=settings.gateway.allow_public_test_user,
    )


@asynccontextmanager
async def open_authenticator(settings: Settings) -> AsyncGenerator[tuple[Authenticator, dict[str, Probe]]]:
    """The authenticator, its keys kept fresh until the block ends, and what /readyz has to ask about them."""
    url = settings.identity.jwt_jwks_url
    if url is None:
        yield make_authenticator(settings), {}
        return
    # Only here, because its import takes longer than all the rest.
    from services.gateway.identity.key_fetch import fetcher  # noqa: PLC0415

    fetch = fetcher(url, timeout_seconds=settings.identity.jwt_jwks_timeout_seconds)
    issuer = IssuersKeys(fetch, settings.identity)
    authenticator = make_authenticator(settings, issuer)
    async with in_background(issuer.run()):
        yield authenticator, {"keys": issuer.probe}


def _host_name(header: str) -> str:
    """A Host header without its port, in lower case; what is malformed becomes a name that nothing has."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()

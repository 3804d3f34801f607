"""From a request's Authorization header to its user, in each mode."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from common.checks.errors import FieldError
from common.domain.errors import UnsafeConfiguration
from common.domain.ids import parse_user_id
from common.settings import Settings
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.tokens import InvalidToken, TokenVerifier
from services.gateway.problems import UNAUTHENTICATED, Problem


class Authenticator:
    """Tells who sent a request: the user of its token, or in local modes the test user.

    A token that is sent counts in every mode, so a bad one is never taken for the test user.
    """

    def __init__(
        self,
        verifier: TokenVerifier | None,
        test_user: Principal | None = None,
        *,
        test_user_anywhere: bool = False,
    ) -> None:
        self._verifier = verifier
        self._test_user = test_user
        self._test_user_anywhere = test_user_anywhere

    def identify(self, authorization: str | None, host: str | None) -> Principal:
        """The user behind an Authorization header, in a request whose Host header is `host`.

        Raises Problem (401) where there is none.
        """
        if authorization is not None:
            return self._bearer(authorization)
        if self._test_user is None:
            raise _unauthenticated("A bearer token is needed")
        # A web page anywhere can have its own name resolved to this machine; the browser then sends
        # that name as the host, and must not be let in as the test user.
        if not self._test_user_anywhere and not is_loopback(_host_name(host or "")):
            reason = "Without a token only requests to localhost are answered"
            raise Problem(UNAUTHENTICATED, reason, errors=[FieldError("Host", reason)], headers=_challenge())
        return self._test_user

    def _bearer(self, authorization: str) -> Principal:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthenticated("Send `Bearer` and a token")
        if self._verifier is None:
            raise _unauthenticated("No secret is set to check tokens with (JWT_SECRET)")
        try:
            return self._verifier.verify(token.strip())
        except InvalidToken as error:
            raise _unauthenticated(f"Refused: {error}", 'error="invalid_token"') from error


def _unauthenticated(reason: str, challenge: str = "") -> Problem:
    field = FieldError("Authorization", reason)
    return Problem(UNAUTHENTICATED, reason, errors=[field], headers=_challenge(challenge))


def _challenge(more: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="turnlog"{", " if more else ""}{more}'}


def make_authenticator(settings: Settings) -> Authenticator:
    """The authenticator that `settings` ask for. Raises UnsafeConfiguration where it would let people in.

    Refused: a test user on an address others can reach, token modes without a secret, weak secrets.
    """
    identity = settings.identity
    verifier = TokenVerifier(identity) if identity.jwt_secret is not None else None
    if not settings.mode.has_test_user:
        if verifier is None:
            raise UnsafeConfiguration(f"CHAT_HISTORY_MODE={settings.mode} needs JWT_SECRET")
        return Authenticator(verifier)
    gateway = settings.gateway
    if not gateway.allow_public_test_user and not is_loopback(gateway.host):
        raise UnsafeConfiguration(
            f"CHAT_HISTORY_MODE={settings.mode} lets anybody in as the test user, so it does not listen"
            f" on {gateway.host}; use a token mode, or set GATEWAY_ALLOW_PUBLIC_TEST_USER=true"
        )
    user = parse_user_id(identity.local_test_client_id)
    if user is None:
        raise UnsafeConfiguration("LOCAL_TEST_CLIENT_ID is not a user id: 1 to 200 printable characters")
    return Authenticator(
        verifier,
        Principal(user, identity.local_test_username, IdentityKind.TEST_USER),
        test_user_anywhere=gateway.allow_public_test_user,
    )


def _host_name(header: str) -> str:
    """A Host header without its port, in lower case; what is malformed becomes a name that nothing has."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

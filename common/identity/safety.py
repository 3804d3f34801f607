"""Settings of identity that would let somebody in who must not be: refused before anything starts.

Each refusal is one line that says what to set. `turnlog up` and every gateway ask.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from common.domain.errors import UnsafeConfiguration
from common.domain.ids import parse_user_id
from common.identity.keys import ALGORITHMS, PUBLIC, SECRET, read_public_key
from common.settings import IdentitySettings, Settings

MIN_SECRET_BYTES: Final = 32


def refuse_unsafe_identity(settings: Settings) -> None:
    """Raise UnsafeConfiguration for settings with which a gateway must not serve."""
    identity = settings.identity
    _algorithms(identity)
    if _checks_tokens(identity):
        _secret(identity)
        _public_keys(identity)
        _audiences(identity)
    if settings.mode.has_test_user:
        _test_user(settings)
    else:
        _somebody_can_prove_who_they_are(settings)
    _proxies(settings)


def checks_secret_tokens(identity: IdentitySettings) -> bool:
    """Whether tokens signed with the secret are accepted."""
    return SECRET in identity.jwt_algorithms and identity.jwt_secret is not None


def _checks_tokens(identity: IdentitySettings) -> bool:
    return checks_secret_tokens(identity) or any(name in PUBLIC for name in identity.jwt_algorithms)


def _algorithms(identity: IdentitySettings) -> None:
    if not identity.jwt_algorithms or set(identity.jwt_algorithms) - set(ALGORITHMS):
        raise UnsafeConfiguration(f"JWT_ALGORITHMS may only name {', '.join(ALGORITHMS)}")
    has_keys = identity.jwt_public_key_file is not None or identity.jwt_jwks_url is not None
    if has_keys and not set(identity.jwt_algorithms) & set(PUBLIC):
        source = "JWT_JWKS_URL" if identity.jwt_jwks_url else "JWT_PUBLIC_KEY_FILE"
        raise UnsafeConfiguration(
            f"{source} is not used with JWT_ALGORITHMS={','.join(identity.jwt_algorithms)};"
            " set JWT_ALGORITHMS=RS256 (or ES256)"
        )


def _secret(identity: IdentitySettings) -> None:
    if SECRET not in identity.jwt_algorithms:
        return
    if identity.jwt_secret is None:
        raise UnsafeConfiguration("JWT_ALGORITHMS names HS256, which needs JWT_SECRET")
    secret = identity.jwt_secret.get_secret_value()
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise UnsafeConfiguration(
            f"JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes (openssl rand -hex 32 makes one)"
        )
    if "-----BEGIN" in secret:
        # A public key is no secret, and whoever has it could sign.
        raise UnsafeConfiguration("JWT_SECRET is a key in PEM form; a public key goes in JWT_PUBLIC_KEY_FILE")


def _public_keys(identity: IdentitySettings) -> None:
    wanted = [name for name in identity.jwt_algorithms if name in PUBLIC]
    file, url = identity.jwt_public_key_file, identity.jwt_jwks_url
    if not wanted:
        return
    if (file is None) == (url is None):
        both = (
            "has both JWT_PUBLIC_KEY_FILE and JWT_JWKS_URL; unset one"
            if file
            else ("needs JWT_JWKS_URL or JWT_PUBLIC_KEY_FILE")
        )
        raise UnsafeConfiguration(f"JWT_ALGORITHMS={','.join(identity.jwt_algorithms)} {both}")
    if url is not None:
        _key_set_url(url)
    if file is not None:
        algorithm, _ = read_public_key(file)
        if wanted != [algorithm]:
            raise UnsafeConfiguration(
                f"JWT_PUBLIC_KEY_FILE holds a key for {algorithm}; JWT_ALGORITHMS names {', '.join(wanted)}"
            )


def _key_set_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnsafeConfiguration("JWT_JWKS_URL is not a URL") from None
    if not host or parts.scheme not in ("http", "https"):
        raise UnsafeConfiguration("JWT_JWKS_URL must be an https URL")
    if parts.scheme == "http" and not is_loopback(host):
        raise UnsafeConfiguration(
            "JWT_JWKS_URL must be an https URL: over http anybody on the way could put in keys of their own"
        )
    if "@" in parts.netloc:
        raise UnsafeConfiguration("JWT_JWKS_URL must not have a login in it: public keys need none")


def _audiences(identity: IdentitySettings) -> None:
    if identity.jwt_audience == identity.jwt_service_audience:
        raise UnsafeConfiguration(
            "JWT_SERVICE_AUDIENCE must not be JWT_AUDIENCE: every user's token would be a service's"
        )


def _test_user(settings: Settings) -> None:
    gateway, mode = settings.gateway, settings.mode
    if settings.identity.sso_enabled:
        raise UnsafeConfiguration(
            f"SSO_ENABLED=true needs CHAT_HISTORY_MODE=redis or postgres: with {mode} whoever sends no"
            " headers is the test user"
        )
    if not gateway.allow_public_test_user and not is_loopback(gateway.host):
        raise UnsafeConfiguration(
            f"CHAT_HISTORY_MODE={mode} lets anybody in as the test user, so it does not listen on"
            f" {gateway.host}; set CHAT_HISTORY_MODE=redis or postgres, or (to let anybody in)"
            " GATEWAY_ALLOW_PUBLIC_TEST_USER=true"
        )
    if parse_user_id(settings.identity.local_test_client_id) is None:
        raise UnsafeConfiguration("LOCAL_TEST_CLIENT_ID is not a user id: 1 to 200 printable characters")


def _somebody_can_prove_who_they_are(settings: Settings) -> None:
    if not _checks_tokens(settings.identity) and not settings.identity.sso_enabled:
        raise UnsafeConfiguration(
            f"CHAT_HISTORY_MODE={settings.mode} needs a way to know users: JWT_SECRET, or"
            " JWT_ALGORITHMS=RS256 with JWT_JWKS_URL, or SSO_ENABLED=true with SSO_TRUSTED_PROXIES"
        )


def _proxies(settings: Settings) -> None:
    identity = settings.identity
    if not identity.sso_enabled:
        return
    if not identity.sso_trusted_proxies:
        raise UnsafeConfiguration(
            "SSO_ENABLED=true needs SSO_TRUSTED_PROXIES, the addresses of your proxy, e.g. 10.0.0.4"
        )
    if any(network.prefixlen == 0 for network in identity.sso_trusted_proxies):
        raise UnsafeConfiguration(
            "SSO_TRUSTED_PROXIES names every address there is, so anybody could be anybody; name your proxy's"
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

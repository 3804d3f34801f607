"""The keys that tokens are checked with: which one is for a token's algorithm and key id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from common.identity.keys import SECRET, PublicKey, read_public_key
from common.identity.safety import checks_secret_tokens
from common.settings import IdentitySettings
from services.gateway.identity.refusals import InvalidToken, Reason

Key = PublicKey | bytes


class RemoteKeys(Protocol):
    """Keys that an issuer publishes and changes."""

    def edition(self) -> int:
        """Another number whenever a key that was good may not be any more."""
        ...

    async def find(self, algorithm: str, key_id: str | None) -> PublicKey:
        """The key. Raises InvalidToken where there is none, Busy where that cannot be known."""
        ...


class KeyRing:
    """A key of our own for each of some algorithms; those of the others come from the issuer's set.

    The algorithm alone decides what kind of key it is: no token can have a public key taken for a secret.
    """

    def __init__(self, own: Mapping[str, Key], remote: RemoteKeys | None = None) -> None:
        self._own = own
        self._remote = remote

    def edition(self) -> int:
        """Another number whenever a key that was good may not be any more."""
        return 0 if self._remote is None else self._remote.edition()

    async def find(self, algorithm: str, key_id: str | None) -> Key:
        """The key for a token. Raises InvalidToken, and Busy while the keys are missing."""
        own = self._own.get(algorithm)
        if own is not None:
            return own
        if self._remote is None:
            raise InvalidToken(Reason.ALGORITHM, "the token's algorithm is not accepted")
        return await self._remote.find(algorithm, key_id)


def own_keys(settings: IdentitySettings) -> dict[str, Key]:
    """The secret and the public key that the settings name. Raises UnsafeConfiguration for an unfit file."""
    keys: dict[str, Key] = {}
    if checks_secret_tokens(settings) and settings.jwt_secret is not None:
        keys[SECRET] = settings.jwt_secret.get_secret_value().encode()
    if settings.jwt_public_key_file is not None:
        algorithm, key = read_public_key(settings.jwt_public_key_file)
        keys[algorithm] = key
    return keys

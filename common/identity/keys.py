"""Public keys that tokens are checked with: from a file or a key set, each bound to one algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from common.domain.errors import UnsafeConfiguration

SECRET: Final = "HS256"  # noqa: S105 - the algorithm that takes one
PUBLIC: Final = ("RS256", "ES256")
ALGORITHMS: Final = (SECRET, *PUBLIC)
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Checking a signature takes longer the larger the key is."""
PublicKey = RSAPublicKey | EllipticCurvePublicKey


def algorithm_of(key: object) -> str | None:
    """The one algorithm that `key` is for; None for private keys, weak ones, and those for none of ours."""
    if isinstance(key, RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    return None


def read_public_key(path: Path) -> tuple[str, PublicKey]:
    """The key in a PEM file, and its algorithm. Raises UnsafeConfiguration for anything else."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UnsafeConfiguration(f"JWT_PUBLIC_KEY_FILE cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY" in text:
        raise UnsafeConfiguration(
            "JWT_PUBLIC_KEY_FILE holds a private key, which has no business here; give its public half"
            " (openssl pkey -in KEY -pubout)"
        )
    try:
        key = load_pem_public_key(text)
    except Exception:  # cryptography's own errors are of several families
        raise UnsafeConfiguration(
            "JWT_PUBLIC_KEY_FILE is not a public key in PEM form (BEGIN PUBLIC KEY)"
        ) from None
    algorithm = algorithm_of(key)
    if algorithm is None or not isinstance(key, PublicKey):
        raise UnsafeConfiguration(
            f"JWT_PUBLIC_KEY_FILE is neither an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
            " nor a P-256 key"
        )
    return algorithm, key


def key_of(jwk: Mapping[str, Any]) -> tuple[str, PublicKey] | None:
    """The key of a JWK and its algorithm; None where it is not for checking signatures of ours.

    Left out: symmetric and private keys (neither belongs in a key set), keys for encryption, weak ones, and
    such as are meant for another algorithm.
    """
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("kty") not in ("RSA", "EC") or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = PyJWK(dict(jwk), algorithm="RS256" if jwk["kty"] == "RSA" else "ES256").key
    except (PyJWTError, ValueError, TypeError, OverflowError):
        return None
    algorithm = algorithm_of(key)
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    return algorithm, key

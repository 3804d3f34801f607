"""Settings of identity that would let somebody in who must not be: one line each that says what to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from common.domain.errors import UnsafeConfiguration
from common.identity.keys import key_of
from common.identity.safety import is_loopback, refuse_unsafe_identity
from common.settings import Settings, SettingsError, load_settings
from tests.issuer import ec_key, public_jwk, public_pem, rsa_key

SECRET = "a-test-secret-of-at-least-32-bytes"
TOKENS = {"CHAT_HISTORY_MODE": "redis", "JWT_SECRET": SECRET}
KEY_SET = {"JWT_ALGORITHMS": "RS256,ES256", "JWT_JWKS_URL": "https://issuer.example/keys"}
SSO = {"SSO_ENABLED": "true", "SSO_TRUSTED_PROXIES": "10.0.0.4, fd00::/64"}
ISSUER = {"CHAT_HISTORY_MODE": "postgres", **KEY_SET}


def settings(**variables: str) -> Settings:
    return load_settings(variables, env_file=None)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"JWT_SECRET": SECRET},
        {"GATEWAY_HOST": "0.0.0.0", "GATEWAY_ALLOW_PUBLIC_TEST_USER": "true"},
        {**TOKENS, "GATEWAY_HOST": "0.0.0.0"},
        {**TOKENS, **SSO},
        {"CHAT_HISTORY_MODE": "postgres", **SSO},
        ISSUER,
        {**ISSUER, "JWT_SECRET": "short, and not used"},
        {**ISSUER, "JWT_JWKS_URL": "http://127.0.0.1:8000/keys"},
        {**ISSUER, "JWT_ALGORITHMS": "HS256,RS256", "JWT_SECRET": SECRET},
    ],
)
def test_what_is_safe_is_let_be(variables: dict[str, str]) -> None:
    """Each way to know users alone, and those that go together."""
    refuse_unsafe_identity(settings(**variables))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"GATEWAY_HOST": "0.0.0.0"}, "GATEWAY_ALLOW_PUBLIC_TEST_USER"),
        ({"GATEWAY_HOST": "::", "CHAT_HISTORY_MODE": "local_psql"}, "GATEWAY_ALLOW_PUBLIC_TEST_USER"),
        ({"LOCAL_TEST_CLIENT_ID": "u" * 201}, "LOCAL_TEST_CLIENT_ID"),
        (SSO, "SSO_ENABLED"),
        ({"CHAT_HISTORY_MODE": "redis"}, "JWT_SECRET"),
        ({"CHAT_HISTORY_MODE": "postgres"}, "SSO_TRUSTED_PROXIES"),
        ({**TOKENS, "JWT_SECRET": "x" * 31}, "JWT_SECRET"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET"),
        ({**TOKENS, "JWT_SECRET": "-----BEGIN PUBLIC KEY-----" * 2}, "JWT_PUBLIC_KEY_FILE"),
        ({**TOKENS, "JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS"),
        ({**TOKENS, "JWT_ALGORITHMS": "HS256,HS512"}, "JWT_ALGORITHMS"),
        ({**TOKENS, "JWT_ALGORITHMS": ","}, "JWT_ALGORITHMS"),
        ({**TOKENS, "JWT_ALGORITHMS": "RS256"}, "JWT_JWKS_URL"),
        ({**TOKENS, "JWT_JWKS_URL": KEY_SET["JWT_JWKS_URL"]}, "JWT_ALGORITHMS=RS256"),
        ({**ISSUER, "JWT_ALGORITHMS": "HS256,RS256"}, "JWT_SECRET"),
        ({**ISSUER, "JWT_JWKS_URL": "http://issuer.example/keys"}, "https"),
        ({**ISSUER, "JWT_JWKS_URL": "http://localhost.example/keys"}, "https"),
        ({**ISSUER, "JWT_JWKS_URL": "file:///etc/keys"}, "https"),
        ({**ISSUER, "JWT_JWKS_URL": "https:///keys"}, "https"),
        ({**ISSUER, "JWT_JWKS_URL": "https://[::1/keys"}, "JWT_JWKS_URL"),
        ({**ISSUER, "JWT_JWKS_URL": "https://issuer.example:many/keys"}, "JWT_JWKS_URL"),
        ({**ISSUER, "JWT_JWKS_URL": "https://u:hushhush@issuer.example/keys"}, "JWT_JWKS_URL"),
        ({**TOKENS, "JWT_AUDIENCE": "turnlog-service"}, "JWT_SERVICE_AUDIENCE"),
        ({**TOKENS, "SSO_ENABLED": "true"}, "SSO_TRUSTED_PROXIES"),
        ({**TOKENS, **SSO, "SSO_TRUSTED_PROXIES": "10.0.0.4,0.0.0.0/0"}, "SSO_TRUSTED_PROXIES"),
        ({**TOKENS, **SSO, "SSO_TRUSTED_PROXIES": "::/0"}, "SSO_TRUSTED_PROXIES"),
    ],
)
def test_what_is_unsafe_is_refused_in_one_line(variables: dict[str, str], named: str) -> None:
    """It names what to set, and never the secret."""
    with pytest.raises(UnsafeConfiguration) as caught:
        refuse_unsafe_identity(settings(**variables))
    text = str(caught.value)
    assert named in text
    assert "\n" not in text
    assert "hush" not in text
    assert "BEGIN" not in text
    assert "x" * 31 not in text


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.4/24", "*", "10.0.0"])
def test_a_proxy_is_named_by_its_address(proxies: str) -> None:
    """A name could be made to mean another machine."""
    with pytest.raises(SettingsError, match="SSO_TRUSTED_PROXIES"):
        settings(**{**SSO, "SSO_TRUSTED_PROXIES": proxies})


def key_file(directory: Path, content: bytes, **variables: str) -> Settings:
    path = directory / "key.pem"
    path.write_bytes(content)
    return settings(
        **{
            "CHAT_HISTORY_MODE": "redis",
            "JWT_ALGORITHMS": "RS256",
            "JWT_PUBLIC_KEY_FILE": str(path),
            **variables,
        }
    )


def test_a_public_key_in_a_file_is_for_its_own_algorithm(tmp_path: Path) -> None:
    """RS256 with an RSA key, ES256 with one on P-256; not both, and not the other way round."""
    rsa, ec = public_pem(rsa_key("file")), public_pem(ec_key("file"))
    refuse_unsafe_identity(key_file(tmp_path, rsa))
    refuse_unsafe_identity(key_file(tmp_path, ec, JWT_ALGORITHMS="ES256"))
    for content, algorithms in ((rsa, "ES256"), (ec, "RS256"), (rsa, "RS256,ES256")):
        with pytest.raises(UnsafeConfiguration, match="JWT_ALGORITHMS"):
            refuse_unsafe_identity(key_file(tmp_path, content, JWT_ALGORITHMS=algorithms))
    with pytest.raises(UnsafeConfiguration, match="unset one"):
        refuse_unsafe_identity(key_file(tmp_path, rsa, JWT_JWKS_URL=KEY_SET["JWT_JWKS_URL"]))
    with pytest.raises(UnsafeConfiguration, match="not used"):
        refuse_unsafe_identity(key_file(tmp_path, rsa, JWT_ALGORITHMS="HS256", JWT_SECRET=SECRET))


def private_pem() -> bytes:
    return rsa_key("file").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "PEM"),
        (b"nonsense", "PEM"),
        (SECRET.encode(), "PEM"),
        (private_pem(), "private key"),
        (public_pem(rsa_key("weak", 1024)), "2048"),
        (public_pem(generate_ec(SECP384R1())), "P-256"),
    ],
    ids=["empty", "nonsense", "secret", "private", "weak", "another curve"],
)
def test_an_unfit_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Keys that are weak or of another kind, and above all private ones."""
    with pytest.raises(UnsafeConfiguration, match="JWT_PUBLIC_KEY_FILE") as caught:
        refuse_unsafe_identity(key_file(tmp_path, content))
    assert said in str(caught.value)


RSA, EC = public_jwk(rsa_key("set"), "r"), public_jwk(ec_key("set"), "e")


@pytest.mark.parametrize(
    "jwk", [RSA, EC, {**RSA, "alg": "RS256"}, {**EC, "use": "sig", "key_ops": ["verify"]}]
)
def test_keys_of_a_set_that_check_signatures(jwk: dict[str, Any]) -> None:
    """By their kind they are for one algorithm."""
    found = key_of(jwk)
    assert found is not None
    assert found[0] == {"RSA": "RS256", "EC": "ES256"}[jwk["kty"]]


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "r"},
        {**RSA, "use": "enc"},
        {**RSA, "key_ops": ["encrypt"]},
        {**RSA, "key_ops": "verify"},
        {**RSA, "alg": "RS512"},
        {**RSA, "alg": "HS256"},
        {**RSA, "alg": None},
        {**RSA, "d": "AQAB"},
        {**RSAAlgorithm.to_jwk(rsa_key("set"), as_dict=True), "key_ops": ["verify"]},
        {**ECAlgorithm.to_jwk(ec_key("set"), as_dict=True), "use": "sig"},
        {**RSA, "kty": "EC"},
        {**EC, "kty": "RSA"},
        {**EC, "crv": "P-384"},
        {**EC, "x": EC["y"]},
        {**RSA, "n": 7},
        {**RSA, "n": "!"},
        {**RSA, "e": None},
        {key: value for key, value in RSA.items() if key != "n"},
        public_jwk(rsa_key("weak", 1024), "r"),
        {"kty": ["RSA"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ],
)
def test_other_keys_of_a_set_are_left_out(jwk: dict[str, Any]) -> None:
    """Symmetric and private ones (they should not be there), weak, broken, and meant for something else."""
    assert key_of(jwk) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", "")],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    """A name that is not localhost counts as public."""
    assert is_loopback(host) is loopback

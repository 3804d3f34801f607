"""Tokens that must not let anybody in: one row each, with the class of its refusal."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.gateway.identity.refusals import Reason
from tests.issuer import (
    Sign,
    b64,
    claims_of,
    compact,
    ec_key,
    hs256,
    public_jwk,
    public_pem,
    rsa_key,
    signed_by,
    unsigned,
)

SECRET: Final = b"the-secret-of-the-matrix-0123456789"
RSA, ELLIPTIC = rsa_key("issuer"), ec_key("issuer")
STRANGER, ELLIPTIC_STRANGER = rsa_key("stranger"), ec_key("stranger")
FAR: Final = 4_000_000_000
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Forgery:
    """Headers that must not let anybody in, and why not where everything is accepted that can be."""

    name: str
    reason: Reason
    headers: Callable[[], Headers]
    trusted: bool = False
    """Whether it comes from the address of the trusted proxy."""


def bearer(token: str) -> Headers:
    """The usual header."""
    return [(b"Authorization", b"Bearer " + token.encode())]


# A kind of key: the header that names it, and what signs.
KINDS: Final[dict[str, tuple[dict[str, Any], Sign]]] = {
    "HS256": ({"alg": "HS256", "typ": "JWT"}, hs256(SECRET)),
    "RS256": ({"alg": "RS256", "typ": "JWT", "kid": "rsa"}, signed_by(RSA)),
    "ES256": ({"alg": "ES256", "typ": "JWT", "kid": "elliptic"}, signed_by(ELLIPTIC)),
}


def good(kind: str, **claims: Any) -> str:
    """A token by a key that is accepted."""
    header, sign = KINDS[kind]
    return compact(header, claims_of(**claims), sign)


def _with_header(name: str, reason: Reason, header: dict[str, Any], kind: str = "RS256") -> Forgery:
    """A token that is right but for its header, signed with the right key."""
    usual, sign = KINDS[kind]
    changed = {key: value for key, value in {**usual, **header}.items() if value is not ...}
    return Forgery(f"{kind}: {name}", reason, lambda: bearer(compact(changed, claims_of(), sign)))


def _signed(name: str, reason: Reason, header: dict[str, Any], sign: Sign) -> Forgery:
    return Forgery(name, reason, lambda: bearer(compact({"typ": "JWT", **header}, claims_of(), sign)))


def broken_signature(kind: str) -> Headers:
    head, _, signature = good(kind).rpartition(".")
    return bearer(f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")


def _other_claims(kind: str) -> Headers:
    head, _, signature = good(kind).split(".")
    return bearer(f"{head}.{b64(json.dumps(claims_of('root')).encode())}.{signature}")


def _claims() -> list[Forgery]:
    """Every claim that is wrong, by every kind of key that is right."""
    wrong: list[tuple[str, Reason, dict[str, Any]]] = [
        ("expired", Reason.EXPIRED, {"exp": 1_000_000_000}),
        ("expired at the beginning of time", Reason.EXPIRED, {"exp": 0}),
        ("not yet valid", Reason.NOT_YET_VALID, {"nbf": FAR}),
        ("issued in the future", Reason.NOT_YET_VALID, {"iat": FAR}),
        ("another audience", Reason.AUDIENCE, {"aud": "somebody-else"}),
        ("a list of other audiences", Reason.AUDIENCE, {"aud": ["somebody-else", "TURNLOG"]}),
        ("an audience that is no text", Reason.AUDIENCE, {"aud": {"turnlog": True}}),
        ("an audience among what is no text", Reason.AUDIENCE, {"aud": ["turnlog", 7]}),
        ("for users and for services", Reason.AUDIENCE, {"aud": ["turnlog", "turnlog-service"]}),
        ("a service without scopes", Reason.INVALID_CLAIM, {"aud": "turnlog-service"}),
        ("another issuer", Reason.ISSUER, {"iss": "somebody-else"}),
        ("an issuer that is longer", Reason.ISSUER, {"iss": "turnlog.example"}),
        ("an issuer that is a list", Reason.ISSUER, {"iss": ["turnlog"]}),
        ("sub is a number", Reason.INVALID_CLAIM, {"sub": 7}),
        ("sub is a list", Reason.INVALID_CLAIM, {"sub": ["alice"]}),
        ("sub is an object", Reason.INVALID_CLAIM, {"sub": {"id": "alice"}}),
        ("sub is true", Reason.INVALID_CLAIM, {"sub": True}),
        ("sub is empty", Reason.INVALID_CLAIM, {"sub": ""}),
        ("sub is too long", Reason.INVALID_CLAIM, {"sub": "u" * 201}),
        ("sub with a NUL", Reason.INVALID_CLAIM, {"sub": "alice\0"}),
        ("sub with a line break", Reason.INVALID_CLAIM, {"sub": "alice\r\nX-User: root"}),
        ("sub with an escape", Reason.INVALID_CLAIM, {"sub": "\x1b[2Jalice"}),
        ("sub with a C1 control", Reason.INVALID_CLAIM, {"sub": "alice\x85"}),
        ("sub with half a surrogate pair", Reason.INVALID_CLAIM, {"sub": "alice\ud800"}),
        ("exp is text", Reason.INVALID_CLAIM, {"exp": str(FAR)}),
        ("exp is words", Reason.INVALID_CLAIM, {"exp": "never"}),
        ("exp is true", Reason.EXPIRED, {"exp": True}),
        ("exp is endless", Reason.INVALID_CLAIM, {"exp": float("inf")}),
        ("exp is not a number", Reason.INVALID_CLAIM, {"exp": float("nan")}),
        ("exp is beyond the calendar", Reason.INVALID_CLAIM, {"exp": 10**400}),
        ("iat is before all time", Reason.INVALID_CLAIM, {"iat": -1}),
        ("iat is text", Reason.INVALID_CLAIM, {"iat": "1"}),
        ("nbf is text", Reason.INVALID_CLAIM, {"nbf": "1"}),
        ("nbf is true", Reason.INVALID_CLAIM, {"nbf": True}),
        ("jti is a number", Reason.INVALID_CLAIM, {"jti": 7}),
        *(
            (f"without {claim}", Reason.MISSING_CLAIM, {claim: None})
            for claim in ("exp", "iat", "aud", "iss", "sub")
        ),
    ]
    return [
        Forgery(f"{kind}: {name}", reason, lambda kind=kind, changes=changes: bearer(good(kind, **changes)))
        for kind in KINDS
        for name, reason, changes in wrong
    ]


def _keys() -> list[Forgery]:
    """Tokens that say what is accepted, by whoever has not the key for it."""
    none = [
        _signed(f"alg {alg!r}", Reason.ALGORITHM, {"alg": alg}, unsigned)
        for alg in ("none", "None", "NONE", "nOnE", "", None, 0, ["HS256"], {"alg": "HS256"}, "HS256 ")
    ]
    others = [
        _signed(f"alg {alg}, signed with the secret", Reason.ALGORITHM, {"alg": alg}, hs256(SECRET))
        for alg in ("HS384", "HS512", "hs256", "RS384", "PS256", "ES512", "ES256K", "EdDSA", "dir")
    ]
    confused = [
        _signed(
            f"HS256 with the public {key_id} {what}",
            Reason.SIGNATURE,
            {"alg": "HS256", "kid": key_id},
            hs256(secret),
        )
        for key_id, key in (("rsa", RSA), ("elliptic", ELLIPTIC))
        for what, secret in (
            ("key as PEM", public_pem(key)),
            ("key as PEM, stripped", public_pem(key).strip()),
            ("key as JWK", json.dumps(public_jwk(key, key_id)).encode()),
        )
    ]
    return [
        *none,
        *others,
        *confused,
        *(_signed(*row) for row in _wrong_keys()),
    ]


def _wrong_keys() -> list[tuple[str, Reason, dict[str, Any], Sign]]:
    secret, rsa = {"alg": "HS256"}, {"alg": "RS256", "kid": "rsa"}
    elliptic = {"alg": "ES256", "kid": "elliptic"}
    wrong, unknown = Reason.SIGNATURE, Reason.UNKNOWN_KEY
    published = hs256(b"published-secret" * 3)
    return [
        ("no alg", Reason.ALGORITHM, {}, hs256(SECRET)),
        ("HS256 with an empty secret", wrong, secret, hs256(b"")),
        ("HS256 with another secret", wrong, secret, hs256(SECRET[::-1])),
        ("a symmetric key that the set has", wrong, {**secret, "kid": "oct"}, published),
        ("a stranger's RSA key", wrong, rsa, signed_by(STRANGER)),
        ("a stranger's curve key", wrong, elliptic, signed_by(ELLIPTIC_STRANGER)),
        ("a stranger's key by its own name", unknown, {**rsa, "kid": "mine"}, signed_by(STRANGER)),
        ("RS256 by a curve key", wrong, rsa, signed_by(ELLIPTIC)),
        ("ES256 by an RSA key", wrong, elliptic, signed_by(RSA)),
        ("RS256 with the curve key's id", unknown, {**rsa, "kid": "elliptic"}, signed_by(RSA)),
        ("ES256 with the RSA key's id", unknown, {**elliptic, "kid": "rsa"}, signed_by(ELLIPTIC)),
        ("a key that the set has for encryption", unknown, {**rsa, "kid": "enc"}, signed_by(RSA)),
        ("a curve signature of zeros", wrong, elliptic, lambda _: bytes(64)),
        ("an RSA signature of zeros", wrong, rsa, lambda _: bytes(256)),
    ]


def _headers() -> list[Forgery]:
    """What a header could talk a careless verifier into, signed with the right key or with its own."""
    mine = {"alg": "RS256", "kid": "mine"}
    own = signed_by(STRANGER)
    public = public_jwk(STRANGER, "mine")
    certificate = base64.b64encode(public_pem(STRANGER)).decode()
    brought: dict[str, Any] = {
        "jwk": public,
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/certificate",
        "x5c": [certificate],
    }
    return [
        *(
            _signed(f"its own key in {name}", Reason.BROUGHT_KEY, {**mine, name: value}, own)
            for name, value in brought.items()
        ),
        *(
            _with_header(f"{name} beside the right key", Reason.BROUGHT_KEY, {name: value})
            for name, value in brought.items()
        ),
        *(
            _with_header(f"crit {crit!r}", Reason.MALFORMED_TOKEN, {"crit": crit, "exp": FAR}, kind)
            for kind in KINDS
            for crit in (["exp"], ["urn:x"], [], "exp", [7], ["b64"], None)
        ),
        _with_header("an unencoded payload", Reason.MALFORMED_TOKEN, {"b64": False, "crit": ["b64"]}),
        _with_header("b64 without crit", Reason.MALFORMED_TOKEN, {"b64": True}),
        *(
            _with_header(f"typ {typ!r}", Reason.MALFORMED_TOKEN, {"typ": typ})
            for typ in ("dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", "", 7, None, ["JWT"])
        ),
        _with_header("no key id where there are several keys", Reason.UNKNOWN_KEY, {"kid": ...}),
        *(
            _with_header(f"kid {kid!r}", reason, {"kid": kid})
            for kid, reason in (
                ("../../../../dev/null", Reason.UNKNOWN_KEY),
                ("' OR 1=1 --", Reason.UNKNOWN_KEY),
                ("rsa\0", Reason.UNKNOWN_KEY),
                ("", Reason.UNKNOWN_KEY),
                (7, Reason.MALFORMED_TOKEN),
                (["rsa"], Reason.MALFORMED_TOKEN),
                ({"kid": "rsa"}, Reason.MALFORMED_TOKEN),
            )
        ),
        Forgery(
            "kid of 4,000 characters",
            Reason.UNKNOWN_KEY,
            lambda: bearer(compact({"alg": "RS256", "kid": "k" * 4000}, claims_of(), signed_by(RSA))),
        ),
    ]


def _shapes() -> list[Forgery]:
    """What is no token, or not a token any more."""
    header, sign = KINDS["HS256"]
    right = good("HS256")
    texts = {
        "nonsense": "nonsense",
        "one dot": "a.b",
        "two dots": "..",
        "four dots": "a.b.c.d.e",
        "a part more": f"{right}.{right.rpartition('.')[2]}",
        "a part less": right.rpartition(".")[0],
        "twice": f"{right}{right}",
        "in quotes": f'"{right}"',
        "with a comma": f"{right},{right}",
        "with a space": f"{right} {right}",
        "in plain base64": right.replace("-", "+").replace("_", "/").replace(".", "+.", 1),
        "not ASCII": right + "é",
        "header is a list": compact(b'["HS256"]', claims_of(), sign),
        "header is no JSON": compact(b"{", claims_of(), sign),
        "header is not UTF-8": compact(b'{"alg":"HS256","x":"\xff"}', claims_of(), sign),
        "header is very deep": compact(b"[" * 4000, claims_of(), sign),
    }
    claims = {
        "claims are a list": b"[]",
        "claims are text": b'"alice"',
        "claims are no JSON": b"{",
        "sub is very deep": json.dumps(claims_of("@")).replace('"@"', "[" * 1500 + "]" * 1500).encode(),
        "claims have a number of 4,500 digits": b'{"sub":' + b"1" * 4500 + b"}",
        "claims are another JSON object": b"{}",
    }
    missing = {"claims are another JSON object": Reason.MISSING_CLAIM}
    return [
        *(
            Forgery(f"token: {name}", Reason.MALFORMED_TOKEN, lambda text=text: bearer(text))
            for name, text in texts.items()
        ),
        *(
            Forgery(
                f"token: {name}",
                missing.get(name, Reason.INVALID_CLAIM),
                lambda text=text: bearer(compact(header, text, sign)),
            )
            for name, text in claims.items()
        ),
        *(
            Forgery(
                f"token of {size} characters",
                Reason.TOKEN_TOO_LONG,
                lambda size=size: bearer(good("HS256", padding="x" * size)),
            )
            for size in (9_000, 100_000)
        ),
        *(
            Forgery(
                f"{kind}: a changed signature", Reason.SIGNATURE, lambda kind=kind: broken_signature(kind)
            )
            for kind in KINDS
        ),
        *(
            Forgery(
                f"{kind}: other claims under its signature",
                Reason.SIGNATURE,
                lambda kind=kind: _other_claims(kind),
            )
            for kind in KINDS
        ),
        *(
            Forgery(
                f"{kind}: the signature cut off",
                Reason.SIGNATURE,
                lambda kind=kind: bearer(good(kind).rpartition(".")[0] + "."),
            )
            for kind in KINDS
        ),
    ]


FORGED_TOKENS: Final = (*_claims(), *_keys(), *_headers(), *_shapes())

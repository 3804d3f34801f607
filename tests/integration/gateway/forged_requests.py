"""Requests that must not let anybody in, whatever is in their tokens; and all forgeries together."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from services.gateway.identity.refusals import Reason
from tests.integration.gateway.forgeries import (
    FORGED_TOKENS,
    Forgery,
    Headers,
    bearer,
    broken_signature,
    good,
)


def _requests() -> list[Forgery]:
    """Headers that are not as they should be, whatever is in them."""

    def raw(value: bytes) -> Callable[[], Headers]:
        return lambda: [(b"Authorization", value)]

    def right() -> bytes:
        return b"Bearer " + good("HS256").encode()

    def other() -> bytes:
        return b"Bearer " + good("HS256", user="root").encode()

    return [
        Forgery("Authorization is empty", Reason.NOT_BEARER, raw(b"")),
        Forgery("Bearer and nothing", Reason.NOT_BEARER, raw(b"Bearer")),
        Forgery("Basic", Reason.NOT_BEARER, raw(b"Basic " + base64.b64encode(b"alice:secret"))),
        Forgery("Negotiate", Reason.NOT_BEARER, raw(b"Negotiate YIIB")),
        Forgery(
            "a token without Bearer", Reason.NOT_BEARER, lambda: [(b"Authorization", good("HS256").encode())]
        ),
        Forgery("Bearer twice", Reason.MALFORMED_TOKEN, lambda: [(b"Authorization", b"Bearer " + right())]),
        Forgery(
            "two Authorization headers",
            Reason.REPEATED_HEADER,
            lambda: [(b"Authorization", right()), (b"Authorization", other())],
        ),
        Forgery(
            "the same Authorization twice",
            Reason.REPEATED_HEADER,
            lambda: [(b"Authorization", right()), (b"authorization", right())],
        ),
        Forgery(
            "a second Authorization that is empty",
            Reason.REPEATED_HEADER,
            lambda: [(b"Authorization", right()), (b"Authorization", b"")],
        ),
        Forgery(
            "a user acts for another",
            Reason.MAY_NOT_ACT,
            lambda: [(b"Authorization", right()), (b"Turnlog-User", b"root")],
        ),
        Forgery(
            "a user acts for two",
            Reason.REPEATED_HEADER,
            lambda: [(b"Authorization", right()), (b"Turnlog-User", b"a"), (b"Turnlog-User", b"b")],
        ),
        Forgery(
            "a service acts for nobody",
            Reason.INVALID_USER,
            lambda: [*bearer(good("HS256", aud="turnlog-service", scope="admin")), (b"Turnlog-User", b"%00")],
        ),
        Forgery(
            "a token in a cookie",
            Reason.NO_CREDENTIALS,
            lambda: [(b"Cookie", b"token=" + good("HS256").encode())],
        ),
        Forgery("a token in another header", Reason.NO_CREDENTIALS, lambda: [(b"X-Authorization", right())]),
        Forgery("nothing", Reason.NO_CREDENTIALS, list),
    ]


_ID, _NAME = b"X-MS-CLIENT-PRINCIPAL-ID", b"X-MS-CLIENT-PRINCIPAL-NAME"


def _proxied() -> list[Forgery]:
    """The headers of a proxy from somebody who is none, and unfit ones from one who is."""

    def spoofed(*more: tuple[bytes, bytes]) -> Callable[[], Headers]:
        return lambda: [(_ID, b"alice"), (_NAME, b"Alice"), *more]

    ways = {
        "X-Forwarded-For": b"127.0.0.1",
        "X-Real-IP": b"127.0.0.1",
        "Forwarded": b"for=127.0.0.1",
        "X-Client-IP": b"127.0.0.1",
        "X-Forwarded-Host": b"localhost",
        "Client-IP": b"127.0.0.1",
    }
    return [
        Forgery("SSO from an untrusted peer", Reason.UNTRUSTED_PROXY, spoofed()),
        *(
            Forgery(
                f"SSO from an untrusted peer, {name}", Reason.UNTRUSTED_PROXY, spoofed((name.encode(), way))
            )
            for name, way in ways.items()
        ),
        Forgery(
            "SSO from an untrusted peer beside a good token",
            Reason.UNTRUSTED_PROXY,
            lambda: [(_ID, b"alice"), *bearer(good("HS256"))],
        ),
        Forgery("only the name, untrusted", Reason.UNTRUSTED_PROXY, lambda: [(_NAME, b"Alice")]),
        Forgery(
            "only the claims, untrusted",
            Reason.UNTRUSTED_PROXY,
            lambda: [(b"X-MS-CLIENT-PRINCIPAL", b"eyJ1c2VySWQiOiJhbGljZSJ9")],
        ),
        Forgery("two ids, untrusted", Reason.REPEATED_HEADER, lambda: [(_ID, b"alice"), (_ID, b"bob")]),
        Forgery(
            "two ids, trusted",
            Reason.REPEATED_HEADER,
            lambda: [(_ID, b"alice"), (_ID.lower(), b"bob")],
            trusted=True,
        ),
        Forgery("only the name, trusted", Reason.INVALID_SSO, lambda: [(_NAME, b"Alice")], trusted=True),
        Forgery("an empty id, trusted", Reason.INVALID_SSO, lambda: [(_ID, b"")], trusted=True),
        Forgery(
            "an id that is not UTF-8, trusted", Reason.INVALID_SSO, lambda: [(_ID, b"\xff\xfe")], trusted=True
        ),
        Forgery(
            "an id that is too long, trusted", Reason.INVALID_SSO, lambda: [(_ID, b"u" * 201)], trusted=True
        ),
        Forgery(
            "another user's token, trusted",
            Reason.TWO_IDENTITIES,
            lambda: [(_ID, b"bob"), *bearer(good("HS256"))],
            trusted=True,
        ),
        Forgery(
            "a bad token, trusted",
            Reason.SIGNATURE,
            lambda: [(_ID, b"alice"), *broken_signature("HS256")],
            trusted=True,
        ),
        Forgery(
            "acts for another, trusted",
            Reason.MAY_NOT_ACT,
            lambda: [(_ID, b"alice"), (b"Turnlog-User", b"root")],
            trusted=True,
        ),
        Forgery("nothing, trusted", Reason.NO_CREDENTIALS, list, trusted=True),
    ]


FORGERIES: Final = (*FORGED_TOKENS, *_requests(), *_proxied())

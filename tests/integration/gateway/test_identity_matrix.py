"""Who gets in: every forgery against real gateways of every kind, with a real issuer. Nobody may.

No server is behind these gateways: whoever is let in is told who they are (`/api/me`), or that it cannot be
done just now (503), and neither may happen to a forgery.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from common.settings import IdentitySettings, PostgresSettings, RedisSettings, Settings
from services.gateway.conversations import Conversations
from services.gateway.exports import Exports
from services.gateway.health import Health
from services.gateway.identity.refusals import Reason
from services.gateway.me import Me
from services.gateway.messages import Messages
from services.gateway.operations import operations_of
from services.gateway.pages import Pages
from tests.gateway_processes import GatewayProcess, gateway_process
from tests.gateways import problem_fields
from tests.integration.gateway.forged_requests import FORGERIES
from tests.integration.gateway.forgeries import ELLIPTIC, RSA, SECRET, Forgery, bearer, good
from tests.issuer import Issuer, public_jwk, public_pem, rsa_key, running_issuer
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
ID: Final = "0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"
SOME_ROUTES: Final = (
    ("GET", "/api/me"),
    ("DELETE", f"/api/conversations/{ID}"),
)
RESOURCES = (Conversations, Messages, Exports, Me, Health, Pages)
PRIVATE = [
    (bound.operation.method, bound.operation.path.replace("{conversation_id}", ID))
    for bound in operations_of([cls.__new__(cls) for cls in RESOURCES])
    if not bound.operation.public
]
NOWHERE: Final = Settings(
    redis=RedisSettings(url=SecretStr("redis://127.0.0.1:1/0")),
    postgres=PostgresSettings(url=SecretStr("postgresql://x:y@127.0.0.1:1/x")),
    identity=IdentitySettings(jwt_secret=SecretStr(SECRET.decode())),
)


@dataclass(frozen=True)
class Kind:
    """A way to run a gateway, and the kinds of tokens that it accepts."""

    name: str
    variables: dict[str, str]
    accepts: tuple[str, ...]

    def may_let_in(self, forgery: Forgery) -> bool:
        """Whether this is no forgery to such a gateway."""
        if self.name == "local":  # nothing is the test user's, and what is not a credential is nothing
            return forgery.reason is Reason.NO_CREDENTIALS
        return self.name == "file" and forgery.reason is Reason.UNKNOWN_KEY  # one key, whatever it is called


KINDS: Final = (
    Kind(
        "everything",
        {
            "CHAT_HISTORY_MODE": "redis",
            "JWT_ALGORITHMS": "HS256,RS256,ES256",
            "JWT_JWKS_URL": "{issuer}",
            "SSO_ENABLED": "true",
            "SSO_TRUSTED_PROXIES": TRUSTED,
        },
        ("HS256", "RS256", "ES256"),
    ),
    Kind(
        "issuer",
        {"CHAT_HISTORY_MODE": "postgres", "JWT_ALGORITHMS": "RS256", "JWT_JWKS_URL": "{issuer}"},
        ("RS256",),
    ),
    Kind(
        "file",
        {"CHAT_HISTORY_MODE": "redis", "JWT_ALGORITHMS": "ES256", "JWT_PUBLIC_KEY_FILE": "{file}"},
        ("ES256",),
    ),
    Kind("secret", {"CHAT_HISTORY_MODE": "postgres"}, ("HS256",)),
    Kind(
        "proxy",
        {
            "CHAT_HISTORY_MODE": "postgres",
            "JWT_SECRET": "",
            "SSO_ENABLED": "true",
            "SSO_TRUSTED_PROXIES": TRUSTED,
        },
        (),
    ),
    Kind("local", {"CHAT_HISTORY_MODE": "local"}, ("HS256",)),
)


@dataclass(frozen=True)
class Gateways:
    """One gateway of each kind."""

    running: dict[str, GatewayProcess]
    clients: dict[str, httpx.AsyncClient]
    """By the address that they come from."""

    async def ask(
        self, kind: Kind, forgery: Forgery, method: str = "GET", path: str = "/api/me"
    ) -> httpx.Response:
        """Send a forgery."""
        client = self.clients[TRUSTED if forgery.trusted else STRANGER]
        url = self.running[kind.name].url + path
        return await client.request(method, url, headers=[*forgery.headers()], timeout=30)


def _client(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=address, verify=False))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    """With two RSA keys, one on a curve, and some that have no business there."""
    async with running_issuer() as issuer:
        issuer.keys = [
            public_jwk(RSA, "rsa"),
            public_jwk(rsa_key("next"), "next"),
            public_jwk(ELLIPTIC, "elliptic"),
            public_jwk(RSA, "enc") | {"use": "enc"},
            {
                "kty": "oct",
                "kid": "oct",
                "k": "cHVibGlzaGVkLXNlY3JldHB1Ymxpc2hlZC1zZWNyZXRwdWJsaXNoZWQtc2VjcmV0",
            },
        ]
        yield issuer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    """Real processes, one of each kind."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    file.write_bytes(public_pem(ELLIPTIC))
    with ExitStack() as stack:
        running: dict[str, GatewayProcess] = {}
        for kind in KINDS:
            values = {
                name: value.format(issuer=issuer.url, file=file) for name, value in kind.variables.items()
            }
            directory = tmp_path_factory.mktemp(kind.name)
            starting = gateway_process(NOWHERE, directory, REDIS_ENABLED="false", **values)
            running[kind.name] = stack.enter_context(starting)
        for gateway in running.values():
            await gateway.ready("/healthz")
        async with _client(TRUSTED) as trusted, _client(STRANGER) as stranger:
            yield Gateways(running, {TRUSTED: trusted, STRANGER: stranger})


def why_not_refused(forgery: Forgery, reply: httpx.Response, *, exactly: bool) -> str | None:
    """What is wrong with the reply to a forgery; None where it is refused as it should be."""
    said = f"{forgery.name}: {reply.status_code} {reply.text[:200]}"
    if reply.status_code not in (400, 401, 403):
        return said
    problem_fields(reply)
    challenge = reply.headers.get("WWW-Authenticate", "Bearer" if reply.status_code == 403 else "")
    if not challenge.startswith("Bearer") or reply.json().get("reason") not in set(Reason):
        return said
    return said if exactly and reply.json()["reason"] != forgery.reason else None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_no_forgery_is_let_in(gateways: Gateways, kind: Kind) -> None:
    """Whatever it is; where everything is accepted that can be, for exactly the reason that it should be."""
    everything = kind.name == "everything"
    failures: list[str] = []
    tried = 0
    for forgery in FORGERIES:
        if kind.may_let_in(forgery):
            continue
        for method, path in SOME_ROUTES if everything else SOME_ROUTES[:1]:
            reply = await gateways.ask(kind, forgery, method, path)
            tried += 1
            if wrong := why_not_refused(forgery, reply, exactly=everything):
                failures.append(f"{method} {path}: {wrong}")
    sys.stdout.write(
        f"\n{kind.name}: {tried} forged requests, {len(failures)} not refused as they should be\n"
    )
    assert failures == []
    assert tried >= (500 if everything else 250)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_what_is_right_is_let_in(gateways: Gateways, kind: Kind) -> None:
    """By each kind of token that is accepted, and no other: so it is not that nobody gets in."""
    for algorithm in ("HS256", "RS256", "ES256"):
        right = Forgery("none", Reason.ALGORITHM, lambda algorithm=algorithm: bearer(good(algorithm)))
        reply = await gateways.ask(kind, right)
        if algorithm in kind.accepts:
            assert reply.status_code == 200, reply.text
            assert (reply.json()["user_id"], reply.json()["identity"]) == ("alice", "token")
        else:
            assert why_not_refused(right, reply, exactly=kind.name != "proxy") is None


@pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda kind: kind.name)
async def test_no_route_answers_without_an_identity(gateways: Gateways, kind: Kind) -> None:
    """Every method on every path that is not public; HEAD like GET."""
    nobody = Forgery("nothing", Reason.NO_CREDENTIALS, list)
    heads = [("HEAD", path) for method, path in PRIVATE if method == "GET"]
    for method, path in [*PRIVATE, *heads]:
        reply = await gateways.ask(kind, nobody, method, path)
        assert reply.status_code == 401, (method, path)
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="turnlog"'
        if method != "HEAD":
            assert reply.json()["reason"] == Reason.NO_CREDENTIALS
    assert len(PRIVATE) >= 9


async def test_a_trusted_proxy_is_believed_and_what_it_says_of_others_is_not(gateways: Gateways) -> None:
    """The peer is the other end of the connection, as the worker's server sees it."""
    headers = [(b"X-MS-CLIENT-PRINCIPAL-ID", b"bob"), (b"X-MS-CLIENT-PRINCIPAL-NAME", "Bób".encode())]
    for way in ([], [(b"X-Forwarded-For", b"203.0.113.9, 198.51.100.7")]):
        sent = Forgery("none", Reason.UNTRUSTED_PROXY, lambda way=way: [*headers, *way], trusted=True)
        me = (await gateways.ask(KINDS[0], sent)).json()
        assert (me["user_id"], me["name"], me["identity"], me["mode"]) == ("bob", "Bób", "sso", "redis")


async def test_a_service_may_do_what_its_scopes_say(gateways: Gateways) -> None:
    """Each operation needs one; without it 403, which names it. With it the store is asked."""
    routes = {"read": "GET /api/conversations", "publish": "POST /api/conversations/messages"}
    routes["admin"] = f"DELETE /api/conversations/{ID}"
    tried = 0
    for granted in ("", *routes):
        token = good("RS256", user="indexer", aud="turnlog-service", scope=granted)
        sent = Forgery(
            "none", Reason.SCOPE, lambda token=token: [*bearer(token), (b"Turnlog-User", b"al%C3%ADce")]
        )
        for needed, route in routes.items():
            method, path = route.split()
            reply = await gateways.ask(KINDS[0], sent, method, path)
            tried += 1
            if granted in (needed, "admin"):
                assert reply.status_code not in (401, 403), (granted, route, reply.text)
                continue
            assert (reply.status_code, reply.json()["reason"]) == (403, Reason.SCOPE), (granted, route)
            wanted = f'Bearer realm="turnlog", error="insufficient_scope", scope="{needed}"'
            assert reply.headers["WWW-Authenticate"] == wanted
        if granted in ("read", "admin"):
            me = (await gateways.ask(KINDS[0], sent)).json()
            assert (me["user_id"], me["service"], me["scopes"]) == ("alíce", "indexer", [granted])
    assert tried == 12


async def test_nothing_secret_is_in_a_log(gateways: Gateways) -> None:
    """Neither a secret, nor a token or a part of one that was sent; the classes of refusals are."""
    forged = [
        value for forgery in FORGERIES for name, value in forgery.headers() if name != b"X-Forwarded-For"
    ]
    parts = {part for value in forged for part in re.split(rb"[^A-Za-z0-9_-]+", value) if len(part) >= 24}
    assert len(parts) > 200
    last = Forgery(
        "none", Reason.NOT_BEARER, lambda: [(b"Authorization", b""), (b"X-Request-ID", b"the-last")]
    )
    for kind in KINDS:
        await gateways.ask(kind, last)
        log = gateways.running[kind.name].log
        await wait_until(lambda log=log: b"the-last" in log.read_bytes())
        written = log.read_bytes()
        assert SECRET not in written, kind
        assert [part for part in parts if part in written] == [], kind
        assert b"Bearer" not in written, kind
    everything = gateways.running["everything"].log.read_text()
    for reason in (Reason.SIGNATURE, Reason.UNTRUSTED_PROXY, Reason.SCOPE):
        assert f'"refused":"{reason}"' in everything

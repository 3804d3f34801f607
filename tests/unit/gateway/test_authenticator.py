"""Who a request is from, in each mode: by token, by a trusted proxy, the test user, a service for a user."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr

from common.identity.scopes import Scope
from common.settings import ChatHistoryMode, GatewaySettings, IdentitySettings, Settings
from services.gateway.identity.authenticator import Authenticator, make_authenticator
from services.gateway.identity.credentials import Credentials, credentials_of
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.refusals import Reason
from services.gateway.problems import Problem
from tools.token import mint_service_token, mint_token

IDENTITY = IdentitySettings(jwt_secret=SecretStr("a-test-secret-of-at-least-32-bytes"))
SSO = IDENTITY.model_copy(
    update={"sso_enabled": True, "sso_trusted_proxies": (ip_network("10.0.0.4"), ip_network("fd00::/64"))}
)
SSO_USER: Any = "bob"
LOCAL = [ChatHistoryMode.LOCAL, ChatHistoryMode.LOCAL_PSQL, ChatHistoryMode.LOCAL_REDIS]
OTHERS = [ChatHistoryMode.POSTGRES, ChatHistoryMode.REDIS]


def authenticator(mode: ChatHistoryMode = ChatHistoryMode.REDIS, **identity: Any) -> Authenticator:
    return make_authenticator(Settings(mode=mode, identity=SSO.model_copy(update=identity)))


def bearer(user: str = "alice") -> str:
    return f"Bearer {mint_token(IDENTITY, user)}"


def by_proxy(peer: str | None = "10.0.0.4", **more: Any) -> Credentials:
    return Credentials(peer=peer, sso=True, sso_id=b"bob", sso_name=b"Bob")._replace(**more)


async def refusal(asked: Authenticator, found: Credentials) -> tuple[int, Reason]:
    with pytest.raises(Problem) as caught:
        await asked.identify(found)
    problem = caught.value
    if problem.kind.status == 401:
        assert problem.headers["WWW-Authenticate"].startswith('Bearer realm="turnlog"')
    return problem.kind.status, Reason(str(problem.reason))


@pytest.mark.parametrize("mode", LOCAL)
async def test_in_local_modes_nobody_is_the_test_user_and_a_token_counts(mode: ChatHistoryMode) -> None:
    """A bad token is refused, never taken for the test user."""
    local = make_authenticator(Settings(mode=mode, identity=IDENTITY))
    assert (await local.identify(Credentials(host="localhost"))).kind is IdentityKind.TEST_USER
    assert (await local.identify(Credentials(bearer(), "localhost"))).user_id == "alice"
    assert (await local.identify(Credentials(bearer().replace("B", "b", 1), "other.example"))).name == "alice"
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", mint_token(IDENTITY, "alice")):
        assert await refusal(local, Credentials(header, "localhost")) == (401, Reason.NOT_BEARER)
    for header in ("Bearer nonsense", f"Bearer {bearer()}", f"{bearer()}, {bearer()}"):
        assert await refusal(local, Credentials(header, "localhost")) == (401, Reason.MALFORMED_TOKEN)


@pytest.mark.parametrize("mode", OTHERS)
async def test_other_modes_need_a_token(mode: ChatHistoryMode) -> None:
    """Without one: 401, on whatever host."""
    strict = make_authenticator(Settings(mode=mode, identity=IDENTITY))
    assert await refusal(strict, Credentials(host="localhost")) == (401, Reason.NO_CREDENTIALS)
    assert (await strict.identify(Credentials(bearer()))).user_id == "alice"


async def test_a_token_is_refused_where_there_is_no_key() -> None:
    """In a local mode without a secret; the test user it is not."""
    local = make_authenticator(Settings())
    found = Credentials(bearer(), "localhost")
    assert await refusal(local, found) == (401, Reason.TOKENS_NOT_ACCEPTED)


async def test_a_web_page_does_not_become_the_test_user_by_its_name() -> None:
    """A page whose name was made to mean this machine (DNS rebinding) sends its own name as the host."""
    local = make_authenticator(Settings())
    for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"):
        assert (await local.identify(Credentials(host=host))).kind is IdentityKind.TEST_USER
    for host in ("rebound.example.com", "rebound.example.com:8080", "localhost.example.com", "[", "", None):
        assert await refusal(local, Credentials(host=host)) == (401, Reason.FOREIGN_HOST)


async def test_the_test_user_is_let_in_from_outside_where_that_is_meant() -> None:
    """By any name then."""
    public = GatewaySettings(host="0.0.0.0", allow_public_test_user=True)
    open_to_all = make_authenticator(Settings(gateway=public))
    assert (await open_to_all.identify(Credentials(host="chat.example.com"))).kind is IdentityKind.TEST_USER


async def test_a_trusted_proxy_says_who_somebody_is() -> None:
    """By its headers; the name may be missing."""
    who = await authenticator().identify(by_proxy())
    assert (who.user_id, who.name, who.kind) == ("bob", "Bob", IdentityKind.SSO)
    nameless = await authenticator().identify(by_proxy(sso_name=None, sso_id="зоя".encode()))
    assert (nameless.user_id, nameless.name) == ("зоя", "зоя")


@pytest.mark.parametrize("peer", ["10.0.0.4", "::ffff:10.0.0.4", "fd00::1"])
async def test_a_proxy_is_known_by_the_address_of_its_connection(peer: str) -> None:
    """In either form of it."""
    assert (await authenticator().identify(by_proxy(peer))).user_id == "bob"


@pytest.mark.parametrize(
    "peer", ["10.0.0.5", "127.0.0.1", "::1", "fd00:0:0:1::1", "::ffff:10.0.0.5", "", "unix:", None]
)
async def test_nobody_else_does(peer: str | None) -> None:
    """Not even this machine, where it was not named."""
    assert await refusal(authenticator(), by_proxy(peer)) == (401, Reason.UNTRUSTED_PROXY)
    with_token = by_proxy(peer, authorization=bearer("bob"))
    assert await refusal(authenticator(), with_token) == (401, Reason.UNTRUSTED_PROXY)


@pytest.mark.parametrize("unfit", [None, b"", b"nul\0", b"\xff\xfe", b"u" * 201])
async def test_a_proxys_user_must_be_one(unfit: bytes | None) -> None:
    """Also where it sends only the name, or another of its headers."""
    assert await refusal(authenticator(), by_proxy(sso_id=unfit)) == (401, Reason.INVALID_SSO)


@pytest.mark.parametrize("mode", LOCAL + OTHERS)
async def test_sso_headers_are_refused_where_they_are_not_enabled(mode: ChatHistoryMode) -> None:
    """From whatever address, and with whatever else: never passed over in silence."""
    without = make_authenticator(Settings(mode=mode, identity=IDENTITY))
    for found in (by_proxy(), by_proxy(host="localhost"), by_proxy(authorization=bearer("bob"))):
        assert await refusal(without, found) == (401, Reason.SSO_NOT_ACCEPTED)


async def test_a_token_beside_sso_headers_must_be_of_the_same_user() -> None:
    """Some proxies pass it on; then it is the token that counts, with all that it says."""
    who = await authenticator().identify(by_proxy(authorization=bearer("bob")))
    assert (who.user_id, who.kind) == ("bob", IdentityKind.TOKEN)
    other = by_proxy(authorization=bearer("alice"))
    assert await refusal(authenticator(), other) == (401, Reason.TWO_IDENTITIES)
    bad = by_proxy(authorization="Bearer nonsense")
    assert await refusal(authenticator(), bad) == (401, Reason.MALFORMED_TOKEN)


async def test_a_service_acts_for_a_user() -> None:
    """With its own scopes, as the user that it names; percent-encoded, so that it may be any."""
    service = f"Bearer {mint_service_token(IDENTITY, 'indexer', [Scope.PUBLISH])}"
    itself = await authenticator().identify(Credentials(service))
    assert (itself.user_id, itself.service) == ("indexer", "indexer")
    for quoted, user in (("alice@example.com", "alice@example.com"), ("%D0%B7%D0%BE%D1%8F%25", "зоя%")):
        who = await authenticator().identify(Credentials(service, act_for=quoted))
        assert (who.user_id, who.name, who.service, who.kind) == (user, user, "indexer", IdentityKind.SERVICE)
        assert (who.may(Scope.PUBLISH), who.may(Scope.READ)) == (True, False)


@pytest.mark.parametrize("unfit", ["", "%00", "%FF", "a%0Ab", "%ED%A0%80", "é", "u" * 201, "u" * 5000])
async def test_a_service_acts_for_nobody_who_could_not_be(unfit: str) -> None:
    """What is no user id is refused, not taken for the service itself."""
    service = f"Bearer {mint_service_token(IDENTITY, 'indexer', [Scope.ADMIN])}"
    found = Credentials(service, act_for=unfit)
    assert await refusal(authenticator(), found) == (403, Reason.INVALID_USER)


async def test_nobody_else_acts_for_a_user() -> None:
    """Neither a user, nor whom a proxy names, nor the test user."""
    for found in (Credentials(bearer(), act_for="bob"), by_proxy(act_for="bob")):
        assert await refusal(authenticator(), found) == (403, Reason.MAY_NOT_ACT)
    local = make_authenticator(Settings())
    found = Credentials(host="localhost", act_for="bob")
    assert await refusal(local, found) == (403, Reason.MAY_NOT_ACT)


@pytest.mark.parametrize(
    "name",
    [b"authorization", b"host", b"turnlog-user", b"x-ms-client-principal-id", b"x-ms-client-principal-name"],
)
def test_a_header_that_comes_twice_is_refused(name: bytes) -> None:
    """Even with the same value: whoever is in between might take the other one."""
    with pytest.raises(Problem) as caught:
        credentials_of({"headers": [(name, b"x"), (b"accept", b"*/*"), (name, b"x")], "client": None})
    assert caught.value.kind.status == 400
    assert caught.value.headers["WWW-Authenticate"].endswith('error="invalid_request"')


def test_what_a_request_says_of_its_way_is_not_looked_at() -> None:
    """The peer is who is connected; any header that only a proxy sets makes it a proxy's request."""
    forged = [(b"x-forwarded-for", b"10.0.0.4"), (b"forwarded", b"for=10.0.0.4"), (b"x-real-ip", b"10.0.0.4")]
    scope = {"headers": [*forged, (b"x-ms-client-principal", b"e30=")], "client": ("192.0.2.7", 1)}
    found = credentials_of(scope)
    assert (found.peer, found.sso, found.sso_id) == ("192.0.2.7", True, None)
    assert credentials_of({"headers": forged, "client": None}) == Credentials()


def test_a_user_may_do_everything_with_what_is_theirs() -> None:
    """Scopes are for services."""
    assert all(Principal(user_id=SSO_USER, name="x", kind=IdentityKind.SSO).may(scope) for scope in Scope)

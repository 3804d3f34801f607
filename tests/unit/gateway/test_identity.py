"""Who a request's user is: tokens that prove it, tokens that do not, and the test user."""

import base64
import json
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from common.domain.errors import UnsafeConfiguration
from common.settings import ChatHistoryMode, GatewaySettings, IdentitySettings, Settings
from services.gateway.identity.authenticator import is_loopback, make_authenticator
from services.gateway.identity.principal import IdentityKind
from services.gateway.identity.tokens import REMEMBERED_TOKENS, InvalidToken, TokenVerifier
from services.gateway.problems import Problem
from tools.token import mint_token

SECRET = "a-test-secret-" * 5  # long enough for HS512 too
OTHER_SECRET = "another-secret-" * 5
IDENTITY = IdentitySettings(jwt_secret=SecretStr(SECRET))
FAR = 4_000_000_000


def token(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "alice", "iss": "turnlog", "aud": "turnlog", "iat": 1, "exp": FAR} | changes
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, secret, algorithm=algorithm)  # pyright: ignore[reportUnknownMemberType]


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": "alice", "iss": "turnlog", "aud": "turnlog", "iat": 1, "exp": FAR}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def test_a_minted_token_proves_its_user() -> None:
    """What the command line mints, the gateway accepts."""
    who = TokenVerifier(IDENTITY).verify(mint_token(IDENTITY, "alice@example.com"))
    assert (who.user_id, who.kind) == ("alice@example.com", IdentityKind.TOKEN)


def test_the_user_may_be_in_another_claim() -> None:
    """As JWT_USER_CLAIM says; `name` and `dept` are kept."""
    settings = IDENTITY.model_copy(update={"jwt_user_claim": "oid"})
    who = TokenVerifier(settings).verify(token(oid="u-17", name="Alice", dept="R&D"))
    assert (who.user_id, who.name, who.department) == ("u-17", "Alice", "R&D")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        "a.b.c",
        token(secret=OTHER_SECRET),
        token(algorithm="HS512"),
        unsigned(),
        token(exp=None),
        token(iat=None),
        token(aud=None),
        token(iss=None),
        token(sub=None),
        token(exp=1000),
        token(exp="soon"),
        token(iat=FAR - 1),
        token(nbf=FAR - 1),
        token(aud="somebody else"),
        token(iss="somebody else"),
        token(sub=""),
        token(sub="u" * 201),
        token(sub="nul\0"),
        token(sub="half \ud800"),
        token(sub="x" * 10_000),
    ],
)
def test_a_token_that_proves_nothing_is_refused(bad: str) -> None:
    """Wrong key or algorithm, no signature, missing or unfit claims, expired or not valid yet."""
    with pytest.raises(InvalidToken):
        TokenVerifier(IDENTITY).verify(bad)


def test_a_remembered_token_expires_all_the_same() -> None:
    """The verdict is kept until `exp` and the leeway are over, not longer."""
    now = [0.0]
    verifier = TokenVerifier(IDENTITY, clock=lambda: now[0])
    minted = token()
    first = verifier.verify(minted)
    now[0] = FAR + IDENTITY.jwt_leeway_seconds - 1
    assert verifier.verify(minted) is first
    now[0] = FAR + IDENTITY.jwt_leeway_seconds
    # Checked anew: PyJWT, whose clock we cannot turn, still accepts it.
    assert verifier.verify(minted) is not first


def test_few_tokens_are_remembered() -> None:
    """However many come, the memory is bounded."""
    verifier = TokenVerifier(IDENTITY)
    first = verifier.verify(token(sub="user-0"))
    for number in range(1, REMEMBERED_TOKENS + 1):
        verifier.verify(token(sub=f"user-{number}"))
    assert verifier.verify(token(sub="user-0")) is not first


@pytest.mark.parametrize("secret", [None, "", "short", "x" * 31])
def test_a_short_secret_is_refused_at_start(secret: str | None) -> None:
    """Under 32 bytes HS256 can be guessed."""
    with pytest.raises(UnsafeConfiguration, match="JWT_SECRET"):
        TokenVerifier(IdentitySettings(jwt_secret=SecretStr(secret) if secret is not None else None))


@pytest.mark.parametrize("algorithms", [(), ("none",), ("HS256", "RS256")])
def test_only_known_algorithms_can_be_configured(algorithms: tuple[str, ...]) -> None:
    """An unknown one would be skipped over silently."""
    with pytest.raises(UnsafeConfiguration, match="JWT_ALGORITHMS"):
        TokenVerifier(IDENTITY.model_copy(update={"jwt_algorithms": algorithms}))


def test_in_local_mode_nobody_is_the_test_user_and_a_token_counts() -> None:
    """A bad token is refused, never taken for the test user."""
    authenticator = make_authenticator(Settings(identity=IDENTITY))
    assert authenticator.identify(None, "localhost").kind is IdentityKind.TEST_USER
    assert authenticator.identify(f"Bearer {token()}", "localhost").user_id == "alice"
    assert authenticator.identify(f"bearer {token()}", "example.com").user_id == "alice"
    for header in ("", "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", token()):
        with pytest.raises(Problem) as caught:
            authenticator.identify(header, "localhost")
        assert caught.value.kind.status == 401
        assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("mode", [ChatHistoryMode.REDIS, ChatHistoryMode.POSTGRES])
def test_other_modes_need_a_token(mode: ChatHistoryMode) -> None:
    """Without one: 401; and without a secret to check it with they do not start."""
    authenticator = make_authenticator(Settings(mode=mode, identity=IDENTITY))
    with pytest.raises(Problem) as caught:
        authenticator.identify(None, "localhost")
    assert caught.value.kind.status == 401
    with pytest.raises(UnsafeConfiguration, match="JWT_SECRET"):
        make_authenticator(Settings(mode=mode))


def test_a_web_page_does_not_become_the_test_user_by_its_name() -> None:
    """A page whose name was made to mean this machine (DNS rebinding) sends its own name as the host."""
    authenticator = make_authenticator(Settings())
    for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"):
        assert authenticator.identify(None, host).kind is IdentityKind.TEST_USER
    for host in ("rebound.example.com", "rebound.example.com:8080", "localhost.example.com", "[", "", None):
        with pytest.raises(Problem) as caught:
            authenticator.identify(None, host)
        assert caught.value.kind.status == 401
        assert [error.field for error in caught.value.errors] == ["Host"]


def test_the_test_user_is_not_let_in_from_outside() -> None:
    """Local modes refuse a public address, unless told that it is meant so."""
    public = GatewaySettings(host="0.0.0.0")
    with pytest.raises(UnsafeConfiguration, match="GATEWAY_ALLOW_PUBLIC_TEST_USER"):
        make_authenticator(Settings(gateway=public))
    allowed = public.model_copy(update={"allow_public_test_user": True})
    assert (
        make_authenticator(Settings(gateway=allowed)).identify(None, "chat.example.com").kind
        is IdentityKind.TEST_USER
    )
    make_authenticator(Settings(mode=ChatHistoryMode.REDIS, gateway=public, identity=IDENTITY))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", "")],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    """A name that is not localhost counts as public."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("user", ["", "u" * 201, "line\nbreak", "nul\0"])
def test_no_token_is_minted_for_what_is_no_user_id(user: str) -> None:
    """The gateway would refuse it."""
    with pytest.raises(ValueError, match="user id"):
        mint_token(IDENTITY, user)

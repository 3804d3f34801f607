"""What a token proves: users, services, nothing; and for how long the verdict is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from common.identity.scopes import Scope
from common.settings import IdentitySettings
from services.gateway.identity.keyring import KeyRing
from services.gateway.identity.principal import IdentityKind, Principal
from services.gateway.identity.refusals import InvalidToken, Reason
from services.gateway.identity.tokens import TokenVerifier
from services.gateway.identity.verdicts import Verdicts
from tests.issuer import claims_of, compact, ec_key, hs256, rsa_key, signed_by
from tools.token import mint_service_token, mint_token

SECRET = "a-test-secret-of-at-least-32-bytes"
SIGN = hs256(SECRET.encode())
IDENTITY = IdentitySettings(jwt_secret=SecretStr(SECRET))
FAR = 4_000_000_000
ALICE = Principal(user_id=claims_of()["sub"], name="alice", kind=IdentityKind.TOKEN)


def verifier(settings: IdentitySettings = IDENTITY, **more: Any) -> TokenVerifier:
    return TokenVerifier(settings, KeyRing({"HS256": SECRET.encode()}), **more)


def token(**changes: Any) -> str:
    return compact({"alg": "HS256", "typ": "JWT"}, claims_of(**changes), SIGN)


async def reason_of(refused: str, settings: IdentitySettings = IDENTITY) -> Reason:
    with pytest.raises(InvalidToken) as caught:
        await verifier(settings).verify(refused)
    return caught.value.reason


async def test_a_minted_token_proves_its_user() -> None:
    """What the command line mints, the gateway accepts."""
    who = await verifier().verify(mint_token(IDENTITY, "alice@example.com"))
    assert (who.user_id, who.kind) == ("alice@example.com", IdentityKind.TOKEN)
    assert (who.service, who.scopes) == (None, None)


async def test_the_user_may_be_in_another_claim() -> None:
    """As JWT_USER_CLAIM says; `name` and `dept` are kept."""
    settings = IDENTITY.model_copy(update={"jwt_user_claim": "oid"})
    who = await verifier(settings).verify(token(oid="u-17", name="Alice", dept="R&D"))
    assert (who.user_id, who.name, who.department) == ("u-17", "Alice", "R&D")
    assert await reason_of(token(), settings) is Reason.INVALID_CLAIM
    assert await reason_of(token(sub=None, oid="u-17"), settings) is Reason.MISSING_CLAIM


async def test_what_cannot_be_shown_is_not_a_name() -> None:
    """Half of a surrogate pair could not even be sent back."""
    who = await verifier().verify(token(name="half \ud800", dept="line\nbreak"))
    assert (who.name, who.department) == ("alice", None)


async def test_a_token_says_until_when_it_is_good() -> None:
    """For what lasts longer than a request, such as a live tail."""
    who = await verifier().verify(token(exp=FAR))
    assert who.expires == FAR + IDENTITY.jwt_leeway_seconds


async def test_the_leeway_is_for_clocks_that_differ() -> None:
    """Of the issuer and of ours, both ways, and not beyond."""
    now = claims_of()["iat"] + 60
    assert (await verifier().verify(token(exp=now - 20))).user_id == "alice"
    assert (await verifier().verify(token(iat=now + 20, nbf=now + 20))).user_id == "alice"
    assert await reason_of(token(exp=now - 40)) is Reason.EXPIRED
    assert await reason_of(token(nbf=now + 60)) is Reason.NOT_YET_VALID
    assert await reason_of(token(iat=now + 60)) is Reason.NOT_YET_VALID


async def test_a_services_token_has_scopes_and_nothing_but_them() -> None:
    """It names another audience; a user's token with scopes stays a user's."""
    who = await verifier().verify(mint_service_token(IDENTITY, "indexer", [Scope.READ]))
    assert (who.user_id, who.kind, who.service) == ("indexer", IdentityKind.SERVICE, "indexer")
    assert [scope for scope in Scope if who.may(scope)] == [Scope.READ]
    listed = await verifier().verify(token(aud="turnlog-service", scope=["publish", "openid", 7]))
    assert [scope for scope in Scope if listed.may(scope)] == [Scope.PUBLISH]
    none = await verifier().verify(token(aud="turnlog-service", scope="openid"))
    assert not any(none.may(scope) for scope in Scope)
    everything = await verifier().verify(token(aud="turnlog-service", scope="admin"))
    assert all(everything.may(scope) for scope in Scope)
    user = await verifier().verify(token(scope="admin"))
    assert (user.kind, user.service, user.scopes) == (IdentityKind.TOKEN, None, None)


async def test_a_token_is_for_users_or_for_services() -> None:
    """One that is for both could be used as either; a service without scopes may do nothing at all."""
    assert await reason_of(token(aud=["turnlog", "turnlog-service"], scope="admin")) is Reason.AUDIENCE
    assert await reason_of(token(aud="turnlog-service")) is Reason.INVALID_CLAIM


async def test_the_algorithm_decides_which_key_there_is() -> None:
    """Each has its own, and what is not listed has none, whatever keys there are."""
    rsa, ec = rsa_key("issuer"), ec_key("issuer")
    both = KeyRing({"HS256": SECRET.encode(), "RS256": rsa.public_key(), "ES256": ec.public_key()})
    settings = IDENTITY.model_copy(update={"jwt_algorithms": ("RS256", "ES256")})
    checking = TokenVerifier(settings, both)
    for algorithm, key in (("RS256", rsa), ("ES256", ec)):
        signed = compact({"alg": algorithm}, claims_of(), signed_by(key))
        assert (await checking.verify(signed)).user_id == "alice"
    with pytest.raises(InvalidToken) as caught:
        await checking.verify(token())
    assert caught.value.reason is Reason.ALGORITHM


async def test_a_remembered_token_expires_all_the_same() -> None:
    """The verdict is kept until `exp` and the leeway are over, not longer."""
    now = [0.0]
    checking = verifier(clock=lambda: now[0])
    minted = token(exp=FAR)
    first = await checking.verify(minted)
    now[0] = FAR + IDENTITY.jwt_leeway_seconds - 1
    assert await checking.verify(minted) is first
    now[0] = FAR + IDENTITY.jwt_leeway_seconds
    # Checked anew: PyJWT, whose clock we cannot turn, still accepts it.
    assert await checking.verify(minted) is not first


def test_few_tokens_are_remembered() -> None:
    """However many come, the memory is bounded; what is used stays longest."""
    verdicts = Verdicts(size=3, clock=lambda: 0)
    for name in ("a", "b", "c"):
        verdicts.keep(name, 0, ALICE, FAR)
    assert verdicts.get("a", 0) is ALICE
    verdicts.keep("d", 0, ALICE, FAR)
    assert len(verdicts) == 3
    assert [name for name in "abcd" if verdicts.get(name, 0)] == ["a", "c", "d"]


def test_a_verdict_ends_with_its_key() -> None:
    """With another edition of the keys nothing is remembered; what an older one found good is not kept."""
    verdicts = Verdicts(clock=lambda: 0)
    verdicts.keep("a", 0, ALICE, FAR)
    assert verdicts.get("a", 1) is None
    verdicts.keep("b", 0, ALICE, FAR)
    assert verdicts.get("b", 1) is None


@pytest.mark.parametrize("user", ["", "u" * 201, "line\nbreak", "nul\0"])
def test_no_token_is_minted_for_what_is_no_user_id(user: str) -> None:
    """The gateway would refuse it."""
    with pytest.raises(ValueError, match="user id"):
        mint_token(IDENTITY, user)


def test_no_token_is_minted_where_only_an_issuers_count() -> None:
    """It would be refused, and the secret is then nobody's business."""
    with pytest.raises(ValueError, match="JWT_ALGORITHMS=RS256"):
        mint_token(IDENTITY.model_copy(update={"jwt_algorithms": ("RS256",)}), "alice")

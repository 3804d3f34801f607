"""An issuer's keys in a gateway: one fetch for many, few for made-up ids, kept while it is away, dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from common.domain.errors import Busy
from common.identity.keys import PublicKey
from common.settings import IdentitySettings
from services.gateway.identity.key_fetch import MAX_BYTES, parse_key_set
from services.gateway.identity.key_sets import MAX_WAITING, IssuersKeys, KeySet, KeySetUnavailable
from services.gateway.identity.refusals import InvalidToken, Reason
from tests.issuer import ec_key, rsa_key
from tests.waiting import wait_until

OLD, NEW = rsa_key("old").public_key(), rsa_key("new").public_key()
EVERY, STALE, PAUSE = 300.0, 1000.0, 10.0
SETTINGS = IdentitySettings(
    jwt_jwks_cache_seconds=EVERY, jwt_jwks_stale_seconds=STALE, jwt_jwks_refetch_seconds=PAUSE
)


def key_set(**named: PublicKey) -> KeySet:
    return {("RS256", key_id): key for key_id, key in named.items()}


class Source:
    """What an issuer would answer, at a time that the test sets."""

    def __init__(self, keys: KeySet | None) -> None:
        self.keys = keys
        self.now = 0.0
        self.fetches = 0
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> KeySet:
        self.fetches += 1
        await self.open.wait()
        if self.keys is None:
            raise KeySetUnavailable("away")
        return self.keys

    def issuer(self) -> IssuersKeys:
        return IssuersKeys(self.fetch, SETTINGS, clock=lambda: self.now)


async def refused(keys: IssuersKeys, key_id: str | None, algorithm: str = "RS256") -> Reason:
    with pytest.raises(InvalidToken) as caught:
        await keys.find(algorithm, key_id)
    return caught.value.reason


async def test_a_rotated_key_is_found_by_one_fetch() -> None:
    """Without waiting for the next one that is due; the key that is gone is refused at once."""
    source = Source(key_set(old=OLD))
    keys = source.issuer()
    assert await keys.find("RS256", "old") is OLD
    before = keys.edition()
    source.keys, source.now = key_set(new=NEW), PAUSE
    assert await keys.find("RS256", "new") is NEW
    assert source.fetches == 2
    assert keys.edition() != before
    assert await refused(keys, "old") is Reason.UNKNOWN_KEY


async def test_made_up_key_ids_cost_one_fetch_in_a_while() -> None:
    """However many come, at once or one after the other."""
    source = Source(key_set(old=OLD))
    keys = source.issuer()
    await asyncio.gather(*(refused(keys, f"made-up-{n}") for n in range(MAX_WAITING)))
    for n in range(100):
        assert await refused(keys, f"made-up-{n}") is Reason.UNKNOWN_KEY
    assert source.fetches == 1
    source.now += PAUSE
    await refused(keys, "made-up")
    assert source.fetches == 2


async def test_those_who_wait_for_a_fetch_are_counted() -> None:
    """A slow issuer must not use up a worker: beyond that it is a 503 at once."""
    source = Source(key_set(old=OLD))
    source.open.clear()
    keys = source.issuer()
    waiting = [asyncio.create_task(keys.find("RS256", "old")) for _ in range(MAX_WAITING)]
    await wait_until(lambda: source.fetches == 1)
    async with asyncio.timeout(5):
        with pytest.raises(Busy):
            await keys.find("RS256", "old")
    source.open.set()
    assert all(key is OLD for key in await asyncio.gather(*waiting))
    assert source.fetches == 1
    assert await keys.find("RS256", "old") is OLD


async def test_a_known_key_needs_no_issuer_until_it_is_too_old() -> None:
    """Then nothing is: for all we know it was withdrawn long ago."""
    source = Source(key_set(old=OLD))
    keys = source.issuer()
    await keys.find("RS256", "old")
    source.keys, edition = None, keys.edition()
    source.now = EVERY + STALE - 1
    assert await keys.find("RS256", "old") is OLD
    assert await keys.probe() is None
    assert keys.edition() == edition
    source.now = EVERY + STALE
    with pytest.raises(Busy):
        await keys.find("RS256", "old")
    assert keys.edition() != edition
    assert "away" in str(await keys.probe())
    source.keys, source.now = key_set(old=OLD), source.now + PAUSE
    assert await keys.find("RS256", "old") is OLD


async def test_while_the_issuer_is_away_an_unknown_key_is_not_a_wrong_one() -> None:
    """It may be new: 503, so that nobody throws a good token away."""
    source = Source(key_set(old=OLD))
    keys = source.issuer()
    await keys.find("RS256", "old")
    source.keys, source.now = None, PAUSE
    for _ in range(3):
        with pytest.raises(Busy) as caught:
            await keys.find("RS256", "new")
        assert caught.value.retry_after == PAUSE
    assert source.fetches == 2
    assert await keys.find("RS256", "old") is OLD


async def test_the_set_is_fetched_now_and_then() -> None:
    """Also when no token asks: a key that was withdrawn ends, as do the verdicts that rest on it."""
    source = Source(key_set(old=OLD))
    hasty = SETTINGS.model_copy(update={"jwt_jwks_cache_seconds": 0.01})
    keys = IssuersKeys(source.fetch, hasty, clock=lambda: source.now)
    running = asyncio.create_task(keys.run())
    await wait_until(lambda: source.fetches >= 2)
    edition = keys.edition()
    await wait_until(_more_fetches(source))
    assert keys.edition() == edition
    source.keys = key_set(new=NEW)
    await wait_until(lambda: keys.edition() != edition)
    running.cancel()
    assert await refused(keys, "old") is Reason.UNKNOWN_KEY


def _more_fetches(source: Source) -> Callable[[], bool]:
    seen = source.fetches
    return lambda: source.fetches > seen + 1


async def test_refreshing_outlives_whatever_a_fetch_ends_in() -> None:
    """Even an error that nobody thought of."""
    failures = [RuntimeError("unheard of"), KeySetUnavailable("away")]

    async def fetch() -> KeySet:
        if failures:
            raise failures.pop()
        return key_set(old=OLD)

    hasty = SETTINGS.model_copy(update={"jwt_jwks_cache_seconds": 0.01})
    keys = IssuersKeys(fetch, hasty, clock=lambda: 0.0)
    running = asyncio.create_task(keys.run())
    await wait_until(lambda: not failures)
    assert await keys.find("RS256", "old") is OLD
    running.cancel()


async def test_a_token_without_a_key_id_needs_the_key_to_be_plain() -> None:
    """One key for its algorithm, and it is that; of several none is guessed."""
    elliptic = ec_key("other").public_key()
    source = Source({("RS256", "old"): OLD, ("ES256", None): elliptic})
    keys = source.issuer()
    assert await keys.find("RS256", None) is OLD
    assert await keys.find("ES256", None) is elliptic
    assert await refused(keys, "old", "ES256") is Reason.UNKNOWN_KEY
    source.keys, source.now = key_set(old=OLD, new=NEW), PAUSE
    await keys.find("RS256", "new")
    assert await refused(keys, None) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[1,null,{"kty":"oct"}]}',
        b"[" * 100_000,
        b" " * MAX_BYTES,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_key_set_changes_nothing(body: bytes) -> None:
    """Nor does one without any usable key: it counts as not got."""
    with pytest.raises(KeySetUnavailable):
        parse_key_set(body)

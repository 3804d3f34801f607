"""An issuer's keys as a gateway holds them: fetched now and then, and at once for a key that is new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from common.domain.errors import Busy
from common.identity.keys import PublicKey
from common.settings import IdentitySettings
from common.singleflight import SingleFlight
from services.gateway.identity.refusals import InvalidToken, Reason

MAX_WAITING: Final = 32
"""Requests that wait for a fetch: a slow issuer and made-up key ids must not use up a worker."""

KeySet = Mapping[tuple[str, str | None], PublicKey]
"""Keys by algorithm and key id."""
Fetch = Callable[[], Awaitable[KeySet]]

log = structlog.get_logger(__name__)


class KeySetUnavailable(Exception):
    """The key set was not got; the text says why, without the address."""


class IssuersKeys:
    """The newest key set that was fetched.

    It is fetched every `jwt_jwks_cache_seconds`, and at once (but rarely: `jwt_jwks_refetch_seconds`, however
    many ask) for a token by a key that is not in it. While the issuer is away it is used for
    `jwt_jwks_stale_seconds` more, and then dropped.
    """

    def __init__(
        self, fetch: Fetch, settings: IdentitySettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._every = settings.jwt_jwks_cache_seconds
        self._usable = settings.jwt_jwks_cache_seconds + settings.jwt_jwks_stale_seconds
        self._pause = settings.jwt_jwks_refetch_seconds
        self._clock = clock
        self._flight = SingleFlight[str]()
        self._waiting = 0
        self._keys: KeySet = {}
        self._fetched_at = -self._usable
        self._asked_at: float | None = None
        self._problem: str | None = "not fetched yet"
        self._edition = 1

    def edition(self) -> int:
        """Another number whenever a key that was good may not be any more. Drops a set that is too old."""
        if self._keys and self._clock() - self._fetched_at >= self._usable:
            log.error("key_set_dropped", reason=self._problem, after_seconds=self._usable)
            self._keys = {}
            self._edition += 1
        return self._edition

    async def find(self, algorithm: str, key_id: str | None) -> PublicKey:
        """The key. Raises InvalidToken where the issuer has no such key, Busy where that cannot be known."""
        key = self._pick(algorithm, key_id)
        if key is None and (key_id is not None or not self._keys):
            await self._ask_at_once()
            key = self._pick(algorithm, key_id)
        if key is not None:
            return key
        if self._problem is not None:
            raise Busy("the issuer's keys cannot be fetched", self._pause)
        if key_id is None:
            raise InvalidToken(Reason.UNKNOWN_KEY, "the token does not say which key it is signed with (kid)")
        raise InvalidToken(Reason.UNKNOWN_KEY, "the token is signed with a key that is not known")

    async def run(self) -> None:
        """Fetch now and then, until cancelled."""
        while True:
            await self._flight.run("fetch", self._refresh)
            await asyncio.sleep(self._every if self._problem is None else min(self._pause, self._every))

    async def probe(self) -> str | None:
        """What is wrong, for /readyz: there are no keys to check any token with."""
        self.edition()
        return None if self._keys else f"no keys: {self._problem}"

    def _pick(self, algorithm: str, key_id: str | None) -> PublicKey | None:
        self.edition()
        if key_id is not None:
            return self._keys.get((algorithm, key_id))
        fitting = [key for (name, _), key in self._keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _ask_at_once(self) -> None:
        """Fetch the set unless that was done for somebody a moment ago; join a fetch that is under way."""
        now = self._clock()
        if "fetch" not in self._flight:
            if self._asked_at is not None and now - self._asked_at < self._pause:
                return
            self._asked_at = now
        if self._waiting >= MAX_WAITING:
            raise Busy("too many wait for the issuer's keys", self._pause)
        self._waiting += 1
        try:
            await self._flight.run("fetch", self._refresh)
        finally:
            self._waiting -= 1

    async def _refresh(self) -> None:
        try:
            keys = await self._fetch()
        except Exception as error:  # whatever the issuer thinks of, the next fetch has to come
            self._problem = str(error) if isinstance(error, KeySetUnavailable) else type(error).__name__
            log.warning("key_set_not_fetched", reason=self._problem, still_used=len(self._keys))
            return
        self._fetched_at, self._problem = self._clock(), None
        if _numbers(keys) != _numbers(self._keys):
            self._keys = keys
            self._edition += 1
            log.info("key_set_changed", keys=len(keys))


def _numbers(keys: KeySet) -> dict[tuple[str, str | None], object]:
    return {name: key.public_numbers() for name, key in keys.items()}

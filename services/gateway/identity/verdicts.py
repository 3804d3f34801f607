"""Tokens that were found good, so that the next request with one costs a look-up instead of a signature."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from services.gateway.identity.principal import Principal

REMEMBERED_TOKENS: Final = 4096


class _Verdict(NamedTuple):
    principal: Principal
    until: float


class Verdicts:
    """The users that good tokens proved, each until its token expires; the least used goes first.

    Kept under digests: the tokens themselves are not. A verdict holds for one edition of the keys only, so
    that none outlives the key it rests on.
    """

    def __init__(self, *, size: int = REMEMBERED_TOKENS, clock: Callable[[], float] = time.time) -> None:
        self._size = size
        self._clock = clock
        self._edition = 0
        self._known: OrderedDict[bytes, _Verdict] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str, edition: int) -> Principal | None:
        """The user that `token` proved with this edition of the keys, if it has not expired."""
        if edition != self._edition:
            self._known.clear()
            self._edition = edition
        digest = _digest(token)
        verdict = self._known.get(digest)
        if verdict is None:
            return None
        if self._clock() >= verdict.until:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return verdict.principal

    def keep(self, token: str, edition: int, principal: Principal, until: float) -> None:
        """Remember that `token` proved `principal`, until then (seconds since 1970)."""
        if edition != self._edition:
            return
        self._known[_digest(token)] = _Verdict(principal, until)
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()

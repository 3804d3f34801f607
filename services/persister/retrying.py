"""How the persister waits for a server that is away: for as long as it takes, ever less eagerly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import stamina

from common.domain.errors import Busy

FIRST_WAIT_SECONDS: Final = 0.05
LONGEST_WAIT_SECONDS: Final = 3.0


def retrying(error: type[Busy], *, unless: asyncio.Event | None = None) -> AsyncIterator[stamina.Attempt]:
    """Attempts without end at what may raise `error`; when `unless` is set, the next failure is final.

    stamina logs each retry, with the error's type and text.
    """

    def again(failure: Exception) -> bool:
        return isinstance(failure, error) and not (unless and unless.is_set())

    return aiter(
        stamina.retry_context(
            on=again,
            attempts=None,
            timeout=None,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=FIRST_WAIT_SECONDS,
        )
    )

"""What idempotency keys were used for: a row each, written with the change that it stands for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import structlog

from common.domain.errors import IdempotencyKeyConflict, StoreUnavailable
from common.domain.ids import UserId
from common.domain.publishing import Idempotency
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.queries import statement

FORGET_EVERY_SECONDS: Final = 3600.0
FORGET_STEP: Final = 1000

log = structlog.get_logger(__name__)


async def remembered(connection: Connection, user: UserId, key: Idempotency) -> list[int] | None:
    """The sequence numbers that the key's request got; None where the key is new, or its time is over.

    Raises IdempotencyKeyConflict where it was for another request.
    """
    rows = await connection.fetch(statement("remembered_key"), user, _digest(key))
    if not rows:
        return None
    if rows[0]["request_digest"] != key.digest:
        raise _conflict()
    return list(rows[0]["sequence_numbers"])


async def remember(
    connection: Connection, user: UserId, key: Idempotency, numbers: Sequence[int], *, ttl_seconds: int
) -> None:
    """Keep the key with its request's `numbers`.

    Raises IdempotencyKeyConflict where another request took the key since `remembered` looked: one on
    another conversation, because requests on one wait for each other.
    """
    arguments = (user, _digest(key), key.digest, numbers, float(ttl_seconds))
    if not await connection.fetch(statement("remember_key"), *arguments):
        raise _conflict()


async def forget_expired(pool: Pool, *, step: int = FORGET_STEP) -> int:
    """Remove keys whose time is over, looking at `step` of them in a transaction; how many there were."""
    removed, last = 0, ("", "")
    while True:
        with outages():
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
                row = await connection.fetchrow(statement("forget_keys"), *last, step)
        if row is None:
            return removed
        removed += row["removed"]
        last = row["user_id"], row["key_digest"]


async def keep_forgetting(pool: Pool, *, every_seconds: float = FORGET_EVERY_SECONDS) -> None:
    """Remove expired keys now and then, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await forget_expired(pool)
        except StoreUnavailable as error:
            log.warning("expired_keys_not_removed", reason=str(error))


def _digest(key: Idempotency) -> str:
    return hashlib.blake2b(key.key.encode(), digest_size=16).hexdigest()


def _conflict() -> IdempotencyKeyConflict:
    return IdempotencyKeyConflict("this idempotency key was used for another request")

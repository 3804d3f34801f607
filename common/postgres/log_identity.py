"""What PostgreSQL remembers of the log it records: how many partitions it has."""

from __future__ import annotations

from common.domain.errors import UnsafeConfiguration
from common.postgres.outages import outages
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Pool


async def claim_partitions(pool: Pool, partitions: int) -> None:
    """Store the partition count at the first use of a database; refuse another one after.

    Raises UnsafeConfiguration: with another count a user's events would be looked for elsewhere.
    """
    with outages():
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            await connection.execute(
                "INSERT INTO log_identity (partitions) VALUES ($1) ON CONFLICT DO NOTHING", partitions
            )
            stored: int = await connection.fetchval("SELECT partitions FROM log_identity")
    if stored != partitions:
        raise UnsafeConfiguration(
            f"PostgreSQL holds the record of a log with {stored} partitions, REDIS_PARTITIONS says "
            f"{partitions}: set REDIS_PARTITIONS={stored}"
        )

"""The servers that tests run against are real, clean and ours alone."""

import asyncpg
import redis.asyncio

from common.settings import Settings


async def test_each_test_gets_an_empty_redis(redis_url: str) -> None:
    """Nothing of an earlier test is in Redis, and it is configured as the log needs it."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert await client.config_get("appendfsync") == {"appendfsync": "always"}


async def test_an_empty_database_has_no_tables(empty_postgres_dsn: str) -> None:
    """Tests of migrations start from nothing."""
    connection = await asyncpg.connect(empty_postgres_dsn)
    try:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert await connection.fetchval(tables) == 0
    finally:
        await connection.close()


async def test_each_test_gets_a_migrated_database(settings: Settings) -> None:
    """The settings fixture points at a database in which the tables are already made."""
    connection = await asyncpg.connect(settings.postgres.dsn)
    try:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert await connection.fetchval(tables) > 0
    finally:
        await connection.close()

"""The schema comes from migrations: applied once, in order, only forward."""

import asyncio
from typing import Any

import asyncpg
import pytest

from common.postgres.migrations import (
    Migration,
    SchemaMismatch,
    SchemaOutdated,
    check_schema,
    migrate,
    program_migrations,
)
from common.postgres.pool import open_pool
from common.settings import PostgresSettings, Settings

NAMES = [migration.name for migration in program_migrations()]


async def test_an_empty_database_gets_every_migration_once(empty_postgres_dsn: str) -> None:
    """The first run applies all in order, the second finds nothing to do."""
    assert await migrate(empty_postgres_dsn) == NAMES
    assert await migrate(empty_postgres_dsn) == []


@pytest.mark.parametrize("known", range(len(NAMES)))
async def test_any_earlier_version_is_brought_forward(empty_postgres_dsn: str, known: int) -> None:
    """A database that an earlier program made gets what it lacks, and keeps what it holds."""
    assert await migrate(empty_postgres_dsn, program_migrations()[:known]) == NAMES[:known]
    if known:
        await _execute(empty_postgres_dsn, "INSERT INTO users (user_id) VALUES ('alice')")
    assert await migrate(empty_postgres_dsn) == NAMES[known:]
    assert await _fetch(empty_postgres_dsn, "SELECT user_id FROM users") == ["alice"] * bool(known)


async def test_services_that_start_together_migrate_once(empty_postgres_dsn: str) -> None:
    """Each migration is applied by exactly one of many that try at the same time."""
    applied = await asyncio.gather(*(migrate(empty_postgres_dsn) for _ in range(8)))
    assert sorted(name for names in applied for name in names) == NAMES


async def test_a_database_of_a_newer_program_is_refused(postgres_dsn: str) -> None:
    """An older program must not write to a schema that it does not know."""
    newer = [*program_migrations(), Migration("9999_later", "SELECT 1")]
    assert await migrate(postgres_dsn, newer) == ["9999_later"]
    with pytest.raises(SchemaMismatch, match="newer than this program: it has migration 9999_later"):
        await migrate(postgres_dsn)


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(postgres_dsn: str) -> None:
    """What the database was made with and what the program believes it was made with are the same text."""
    first, *rest = program_migrations()
    with pytest.raises(SchemaMismatch, match=f"{first.name} is not the one that was applied"):
        await migrate(postgres_dsn, [Migration(first.name, first.sql + "\n-- a late thought"), *rest])


async def test_a_migration_that_fails_leaves_nothing_behind(empty_postgres_dsn: str) -> None:
    """A step is applied as a whole or not at all, and the next run tries it again."""
    broken = Migration("0001_broken", "CREATE TABLE kept (id int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_postgres_dsn, [broken])
    assert await _fetch(empty_postgres_dsn, "SELECT to_regclass('kept')::text") == [None]
    mended = Migration("0001_broken", "CREATE TABLE kept (id int)")
    assert await migrate(empty_postgres_dsn, [mended]) == ["0001_broken"]


async def test_a_service_can_ask_whether_the_schema_is_current(empty_postgres_dsn: str) -> None:
    """Services do not migrate; they refuse a schema that is behind, and say what to do."""
    settings = PostgresSettings.model_validate({"url": empty_postgres_dsn})
    async with open_pool(settings, application_name="test") as pool:
        with pytest.raises(SchemaOutdated, match="Run `turnlog migrate`"):
            await check_schema(pool)
        await migrate(empty_postgres_dsn)
        await check_schema(pool)


async def test_every_key_of_users_data_begins_with_the_user(settings: Settings) -> None:
    """Tables of users' data can be distributed by one column: every index has it, first. But for that of
    words, of which each begins with its user's mark (ADR 0133)."""
    columns = await _fetch(
        settings.postgres.dsn,
        """
        SELECT i.indrelid::regclass || ': ' || a.attname
        FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid IN (SELECT attrelid FROM pg_attribute WHERE attname = 'user_id')
            AND i.indexrelid <> 'messages_search'::regclass
            AND i.indrelid IN (SELECT c.oid FROM pg_class AS c WHERE c.relkind = 'r')
        """,
    )
    assert {column.partition(": ")[2] for column in columns} == {"user_id"}
    assert {column.partition(":")[0] for column in columns} == {
        "users",
        "conversations",
        "messages",
        "tombstones",
        "renumbered",
        "removed_messages",
        "query_logs",
        "unsettled",
        "idempotency_keys",
    }


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _fetch(dsn: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()

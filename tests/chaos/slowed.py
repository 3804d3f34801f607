"""PostgreSQL made slow: each message that is inserted costs time, as on a server that can take no more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

# A function sees what is committed at each of its statements: an end of the slowness ends the sleep, too.
_INSTALL: Final = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.slowness (seconds_per_message double precision NOT NULL);
INSERT INTO chaos.slowness VALUES (0);
CREATE FUNCTION chaos.be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    slept double precision := 0;
    wanted double precision;
    messages bigint := (SELECT count(*) FROM inserted);
BEGIN
    LOOP
        wanted := messages * (SELECT seconds_per_message FROM chaos.slowness);
        EXIT WHEN slept >= wanted;
        PERFORM pg_sleep(least(wanted - slept, 0.1));
        slept := slept + 0.1;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER be_slow AFTER INSERT ON messages REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_slow();
"""

Count = Callable[[], Awaitable[int]]


@asynccontextmanager
async def slowed(dsn: str, seconds_per_message: float) -> AsyncGenerator[Count]:
    """Slow until the block ends; gives what counts the messages that are in PostgreSQL."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_INSTALL)
        await connection.execute("UPDATE chaos.slowness SET seconds_per_message = $1", seconds_per_message)

        async def stored() -> int:
            return int(await connection.fetchval("SELECT count(*) FROM messages"))

        yield stored
    finally:
        await connection.execute("UPDATE chaos.slowness SET seconds_per_message = 0")
        await connection.close()

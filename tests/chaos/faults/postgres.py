"""What can happen to PostgreSQL short of `kill -9`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Final

import asyncpg

from tests.chaos import space
from tests.chaos.faults.fault import Dice, Fault
from tests.chaos.instance import STATEMENT_TIMEOUT_SECONDS, Instance

_MOST_ROWS: Final = 40
_CANCEL_PERIOD_SECONDS: Final = 0.02

_OURS: Final = "application_name IN ('turnlog-persister', 'turnlog-gateway', 'turnlog-cache-builder')"
_CANCEL_ALL: Final = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state <> 'idle' AND {_OURS}"


class ImmediateShutdown(Fault):
    """`pg_ctl stop -m immediate`: SIGQUIT to the postmaster. It recovers when it is started again."""

    target = "postgres"

    def __init__(self, instance: Instance, _: Dice) -> None:
        self._instance = instance

    async def inject(self) -> None:
        family = self._instance.family("postgres")
        if not family:
            raise LookupError("postgres is not running")
        self._instance.expect_death("postgres")
        family[0].send_signal(signal.SIGQUIT)


class DiskFull(Fault):
    """The file system of PostgreSQL's data and write-ahead log has no room left."""

    target = "postgres"

    def __init__(self, instance: Instance, dice: Dice) -> None:
        self.seconds = dice.seconds(1.0, 8.0)
        self._instance = instance

    async def inject(self) -> None:
        # Where it is the write-ahead log that does not fit, PostgreSQL itself stops.
        self._instance.deaths.tolerate("postgres")
        space.fill(self._instance.postgres.spec.directory)

    async def heal(self) -> None:
        space.free(self._instance.postgres.spec.directory)
        await self._instance.wait_answers("postgres")
        self._instance.deaths.tolerate_no_more("postgres")


def no_small_disk(instance: Instance) -> str | None:
    """Why the disk cannot be full here."""
    return None if instance.on_tmpfs else "needs root and a mount namespace for a small tmpfs"


class _Session(Fault):
    """Something that a session of our own does to the others."""

    target = "postgres"

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._connection: asyncpg.Connection | None = None

    async def connect(self) -> asyncpg.Connection:
        """The session."""
        self._connection = await asyncpg.connect(
            self._instance.postgres.spec.dsn,
            timeout=10,
            server_settings={"application_name": "nemesis", "lock_timeout": "5s"},
        )
        return self._connection

    async def heal(self) -> None:
        if self._connection is not None:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                # Ending the session ends its transaction and lets its locks go.
                await self._connection.close(timeout=5)


class StatementTimeouts(_Session):
    """Statements strike their time limit at a locked table, or are cancelled at any moment."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        super().__init__(instance)
        self._storm = dice.random.random() < 0.5
        limit = STATEMENT_TIMEOUT_SECONDS
        self.target = "postgres (cancelled)" if self._storm else "postgres (table locked)"
        self.seconds = dice.seconds(0.5, 6.0) if self._storm else dice.random.uniform(1.2, 2.2) * limit
        self._cancelling: asyncio.Task[None] | None = None

    async def inject(self) -> None:
        connection = await self.connect()
        if self._storm:
            self._cancelling = asyncio.create_task(_cancel_for_ever(connection))
        else:
            await connection.execute("BEGIN")
            await connection.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")

    async def heal(self) -> None:
        if self._cancelling is not None:
            self._cancelling.cancel()
            await asyncio.gather(self._cancelling, return_exceptions=True)
        await super().heal()


class RowLocks(_Session):
    """Another transaction holds rows of conversations and messages, or keeps all others from writing."""

    def __init__(self, instance: Instance, dice: Dice) -> None:
        super().__init__(instance)
        self.seconds = dice.seconds(0.2, 8.0)
        self._table = dice.random.random() < 0.3
        self._rows = dice.random.randint(1, _MOST_ROWS)
        self.target = "postgres (writers)" if self._table else f"postgres ({self._rows} rows)"

    async def inject(self) -> None:
        connection = await self.connect()
        await connection.execute("BEGIN")
        if self._table:
            await connection.execute("LOCK TABLE conversations IN SHARE MODE")
            return
        for table in ("conversations", "messages"):
            await connection.fetch(
                f"SELECT 1 FROM {table} ORDER BY random() LIMIT $1 FOR UPDATE SKIP LOCKED",
                self._rows,
            )


async def _cancel_for_ever(connection: asyncpg.Connection) -> None:
    while True:
        await connection.fetch(_CANCEL_ALL)
        await asyncio.sleep(_CANCEL_PERIOD_SECONDS)

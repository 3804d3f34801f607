"""What a failed write means: the table of every kind of failure."""

from __future__ import annotations

import asyncpg
import pytest

from common.domain.errors import Busy, StoreUnavailable
from common.postgres.changes import Collision, Unstorable
from common.postgres.outages import Verdict, describe, judge, outages


class ClientDataError(asyncpg.InterfaceError, ValueError):
    """As asyncpg raises where it cannot encode a value."""


TRANSIENT = [
    asyncpg.ConnectionDoesNotExistError(),  # 08
    asyncpg.ConnectionFailureError(),
    asyncpg.InvalidTransactionStateError(),  # 25
    asyncpg.ReadOnlySQLTransactionError(),  # a fail-over is under way
    asyncpg.InvalidPasswordError(),  # 28: the operator changes it
    asyncpg.SerializationError(),  # 40
    asyncpg.DeadlockDetectedError(),
    asyncpg.InsufficientPrivilegeError(),  # 42: no event can cause it, a deployment can
    asyncpg.UndefinedTableError(),
    asyncpg.DiskFullError(),  # 53
    asyncpg.OutOfMemoryError(),
    asyncpg.TooManyConnectionsError(),
    asyncpg.LockNotAvailableError(),  # 55P03
    asyncpg.QueryCanceledError(),  # 57: also a statement's time-out
    asyncpg.AdminShutdownError(),
    asyncpg.CannotConnectNowError(),
    asyncpg.PostgresIOError(),  # 58
    asyncpg.InternalServerError(),  # XX
    asyncpg.InterfaceError("connection is closed"),
    ConnectionResetError(),
    TimeoutError(),
    OSError(),
    MemoryError(),
    Busy("later"),
]
PERMANENT = [
    asyncpg.CharacterNotInRepertoireError(),  # 22
    asyncpg.NumericValueOutOfRangeError(),
    asyncpg.InvalidTextRepresentationError(),
    asyncpg.UniqueViolationError(),  # 23
    asyncpg.ForeignKeyViolationError(),
    asyncpg.NotNullViolationError(),
    asyncpg.ProgramLimitExceededError(),  # 54
    asyncpg.StatementTooComplexError(),
    ClientDataError("invalid input for query argument"),
    Collision("taken"),
    Unstorable("no"),
    KeyError("id"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=describe)
def test_the_servers_state_passes(error: Exception) -> None:
    """Such a write is tried again for as long as it takes; nothing is parked for it."""
    assert judge(error) is Verdict.TRANSIENT


@pytest.mark.parametrize("error", PERMANENT, ids=describe)
def test_an_events_own_fault_stays(error: Exception) -> None:
    """Trying again would hold up everything behind it for ever."""
    assert judge(error) is Verdict.PERMANENT


def test_an_outage_has_one_name() -> None:
    """Whoever reads or writes sees StoreUnavailable, without what the server quoted."""
    with pytest.raises(StoreUnavailable, match=r"\(TooManyConnectionsError 53300\)"), outages():
        raise asyncpg.TooManyConnectionsError("sorry, 'a secret'")
    with pytest.raises(StoreUnavailable, match=r"\(ConnectionRefusedError\)"), outages():
        raise ConnectionRefusedError


def test_a_fault_passes_through() -> None:
    """What is not an outage keeps its type."""
    with pytest.raises(asyncpg.UniqueViolationError), outages():
        raise asyncpg.UniqueViolationError

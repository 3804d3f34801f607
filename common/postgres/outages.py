"""Which failures are the server's and pass, and which are an event's own and stay. Decided here alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum
from typing import Final

import asyncpg

from common.domain.errors import Busy, StoreUnavailable

PERMANENT_CLASSES: Final = frozenset({"22", "23", "54"})
"""SQLSTATE classes that only the data of a statement can cause: a value that cannot be stored, a
constraint, a row over a limit. Everything else (no connection, no space, a time-out, a deadlock, a
shutdown, but also a missing right or table) is the server's state: the same statement may pass later."""


class Verdict(Enum):
    """What a failed write means for the events in it."""

    TRANSIENT = "transient"
    """The same write may pass later: try it again, for as long as it takes."""
    PERMANENT = "permanent"
    """An event of this write can never be stored."""


def judge(error: BaseException) -> Verdict:
    """Whether the write that raised `error` may pass when it is tried again."""
    if isinstance(error, asyncpg.PostgresError):
        permanent = (error.sqlstate or "")[:2] in PERMANENT_CLASSES
        return Verdict.PERMANENT if permanent else Verdict.TRANSIENT
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Verdict.PERMANENT  # asyncpg could not encode a value
    if isinstance(error, (Busy, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, MemoryError)):
        return Verdict.TRANSIENT
    # Our own code stumbled over what an event holds. Parked it can be looked at; tried for ever it would
    # hold up all events behind it.
    return Verdict.PERMANENT


def connection_lost(error: StoreUnavailable) -> bool:
    """Whether the connection went away under what was asked, so that nobody knows whether it was done."""
    reason = error.__cause__
    lost = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    shut_down = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
    return isinstance(reason, (*lost, *shut_down, ConnectionError))


def took_too_long(error: BaseException) -> bool:
    """Whether a time limit struck: the same at once may never pass, less at once may."""
    reason = error.__cause__ if isinstance(error, StoreUnavailable) else error
    return isinstance(reason, (asyncpg.QueryCanceledError, TimeoutError))


@contextmanager
def outages() -> Generator[None]:
    """Turn a failure of the server or of the way to it into StoreUnavailable; pass on any other."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if judge(error) is Verdict.PERMANENT:
            raise
        raise StoreUnavailable(f"PostgreSQL is not available ({describe(error)})") from error


def describe(error: BaseException) -> str:
    """What went wrong, without the server's text, which may quote what a user wrote."""
    state = sqlstate_of(error)
    return f"{type(error).__name__} {state}" if state else type(error).__name__


def sqlstate_of(error: BaseException) -> str | None:
    """PostgreSQL's code for the error, where it is PostgreSQL's."""
    return error.sqlstate if isinstance(error, asyncpg.PostgresError) else None

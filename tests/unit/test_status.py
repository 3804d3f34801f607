"""What a status shows, and what of it is said to be a problem."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from tools.status.problems import notes_of, problems_of, problems_of_authority
from tools.status.report import (
    AuthorityStatus,
    PartitionStatus,
    PostgresStatus,
    RedisStatus,
    Service,
    Status,
)
from tools.status.table import render, size

UP = [Service(name="gateway", up=True, detail="ready")]


def partition(number: int = 0, **changes: Any) -> PartitionStatus:
    """A partition without anything to say."""
    quiet = {"events": 7, "not_read": 0, "pending": 0, "parked": 0, "oldest_seconds": None}
    return PartitionStatus.model_validate(
        {"partition": number, **quiet, "committed_position": "5-1", **changes}
    )


def redis(*partitions: PartitionStatus, **changes: Any) -> RedisStatus:
    """A Redis without anything to say."""
    reads = {"hits_last_hour": 95, "misses_last_hour": 5, "hits_last_day": 0, "misses_last_day": 0}
    memory = {"used_bytes": 1024, "max_bytes": 4096, "keys": 12, "evicted_keys": 0, "append_only": True}
    return RedisStatus.model_validate(
        {"version": "9.1", **reads, **memory, "partitions": list(partitions), **changes}
    )


def authority(holder: str, **changes: Any) -> AuthorityStatus:
    """Who has the say, for a minute now."""
    quiet = {"since_seconds": 60.0, "unsettled": 0, "sessions": 2, "silent_sessions": 0}
    return AuthorityStatus.model_validate({"holder": holder, **quiet, **changes})


@pytest.mark.parametrize(
    ("given", "uses_log", "said"),
    [
        (authority("log"), True, ""),
        (authority("record"), False, ""),
        (authority("record"), True, "PostgreSQL in charge, for 60 s"),
        (authority("record", unsettled=3), True, "3 conversations wait for it"),
        (authority("leaving"), True, "PostgreSQL cannot take over"),
        (authority("leaving", silent_sessions=1), True, "because a process that used Redis is silent"),
    ],
)
def test_who_is_in_charge_is_said_where_it_should_be_another(
    given: AuthorityStatus, uses_log: bool, said: str
) -> None:
    """PostgreSQL is, where there is no Redis to be."""
    problems = problems_of_authority(given, uses_log=uses_log)
    assert said in problems[0] if said else not problems


def test_nothing_is_said_where_all_is_well() -> None:
    """A little lag is no problem."""
    assert problems_of(UP, redis(partition(pending=3, oldest_seconds=0.2))) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"used_bytes": 3500}, "Redis has used 85 % of its memory"),
        ({"evicted_keys": 3}, "Redis has evicted 3 keys for lack of memory"),
        ({"misses_last_hour": 95}, "only 50 % of the last hour's reads were answered from the cache"),
        (
            {"append_only": False},
            "Redis has no append-only file: a crash loses what is not yet in PostgreSQL",
        ),
    ],
)
def test_what_is_wrong_with_redis_is_said(changes: dict[str, Any], said: str) -> None:
    """One line each, with the figure."""
    assert problems_of(UP, redis(partition(), **changes)) == [said]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parked": 2}, "2 events are parked: PostgreSQL could not take them"),
        (
            {"refuses": "events"},
            "too many events wait for PostgreSQL: changes are refused with 503 (partition 1)",
        ),
        ({"oldest_seconds": 61.0}, "an event has been waiting for PostgreSQL for 61 s"),
    ],
)
def test_what_is_wrong_with_the_log_is_said(changes: dict[str, Any], said: str) -> None:
    """In whichever partition it is."""
    assert problems_of(UP, redis(partition(), partition(1, **changes))) == [said]


def test_a_hit_rate_of_a_few_reads_is_no_rate() -> None:
    """The first reads after a start are all misses."""
    assert problems_of(UP, redis(partition(), hits_last_hour=0, misses_last_hour=99)) == []


def test_a_roll_back_is_a_note_and_no_problem() -> None:
    """It was made good; what may be lost is worth a look."""
    assert (notes_of(redis(partition())), notes_of(None)) == ([], [])
    came_back = redis(partition(), rollbacks=3)
    [note] = notes_of(came_back)
    assert "came back older than PostgreSQL 3 times" in note
    assert problems_of(UP, came_back) == []
    status = Status(
        url="u", mode="local", services=UP, redis=came_back, postgres=None, problems=[], notes=[note]
    )
    assert "note: a partition of the log came back older" in shown(status, partitions=False)


def test_a_service_that_is_down_is_a_problem() -> None:
    """And the instance is not healthy; nor is it without its record."""
    down = [*UP, Service(name="persister", up=False, detail="silent for 30 s")]
    assert problems_of(down, None) == ["persister: silent for 30 s"]
    record = PostgresStatus.model_validate(
        dict.fromkeys(("users", "conversations", "deleted_conversations", "messages"), 1)
        | dict.fromkeys(("tombstones", "query_logs", "database_bytes"), 0)
        | {"last_commit": None, "authority": authority("log")}
    )
    about = {"url": "http://x", "mode": "local", "redis": None, "problems": []}
    assert Status.model_validate({**about, "services": UP, "postgres": record}).healthy
    assert not Status.model_validate({**about, "services": UP, "postgres": None}).healthy
    assert not Status.model_validate({**about, "services": down, "postgres": record}).healthy


def test_the_tables_sum_the_partitions() -> None:
    """Each has a line of its own only where asked for."""
    parts = [partition(0, pending=2, oldest_seconds=3.0), partition(1, not_read=5, oldest_seconds=9.0)]
    status = Status(
        url="http://localhost:1",
        mode="local",
        services=UP,
        redis=redis(*parts),
        postgres=None,
        problems=["oh"],
        notes=["well"],
    )
    text = shown(status, partitions=False)
    assert cells(text, "lag")[:2] == ["lag", "5"]
    assert cells(text, "pending")[:2] == ["pending", "2"]
    assert cells(text, "oldest of these")[3:5] == ["9.0", "s"]
    assert cells(text, "hit rate, last hour")[4:6] == ["95.0", "%"]
    assert cells(text, "hit rate, last day")[4] == "-"
    assert "! oh" in text
    assert "note: well" in text
    assert "partitions" not in text
    assert "partitions" in shown(status, partitions=True)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5,120.0 GiB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    """In powers of 1024, as memory is."""
    assert size(count) == text


def shown(status: Status, *, partitions: bool) -> str:
    """The status as on a terminal."""
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(render(status, partitions=partitions))
    return captured.get()


def cells(text: str, name: str) -> list[str]:
    """The words of the line that begins with `name`."""
    return next(line.split() for line in text.splitlines() if line.strip().startswith(name))

"""When all up to a place on the log is in PostgreSQL: read is not enough, later events do not count."""

from __future__ import annotations

import pytest

from common.domain.ids import Position
from common.redis.group import PartitionLag


@pytest.mark.parametrize(
    ("delivered", "oldest_pending", "settled"),
    [
        (None, None, False),
        ("9-9", None, False),
        ("10-0", None, True),
        ("10-0", "10-0", False),
        ("10-0", "9-5", False),
        ("11-0", "10-1", True),
        ("100-0", "9-0", False),
    ],
)
def test_settled_up_to_10(delivered: str | None, oldest_pending: str | None, settled: bool) -> None:
    """The group has read it, and what it has read and not committed lies behind it."""
    lag = PartitionLag(
        length=5,
        waiting=1,
        pending=0 if oldest_pending is None else 1,
        oldest_pending=None if oldest_pending is None else Position(oldest_pending),
        delivered=None if delivered is None else Position(delivered),
    )
    assert lag.has_settled(Position("10-0")) is settled

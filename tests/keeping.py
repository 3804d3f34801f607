"""The ways to keep conversations: with Redis, or in PostgreSQL alone. See the fixture `kept`."""

from __future__ import annotations

from typing import Final

import pytest

WITH_REDIS: Final = "with Redis"
ALONE: Final = "PostgreSQL alone"

with_redis = pytest.mark.parametrize("kept", [WITH_REDIS], indirect=True)
"""For a test of what there is with Redis only. Every other one holds for PostgreSQL alone, too."""
without_redis = pytest.mark.parametrize("kept", [ALONE], indirect=True)


def in_places(*places: str) -> pytest.MarkDecorator:
    """For a test with an argument `place` besides `kept`: where conversations are that Redis knows of. In
    PostgreSQL alone there is but one."""
    each = [*((WITH_REDIS, place) for place in places), (ALONE, "alone")]
    return pytest.mark.parametrize(("kept", "place"), each, indirect=["kept"])

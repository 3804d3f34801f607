"""Passing on what a process counts, so that it can be seen from outside."""

from __future__ import annotations

import asyncio
from typing import Final

from common.domain.errors import LogUnavailable
from common.domain.ids import now_ms
from common.loading import CacheCounts
from common.redis.stats import CacheStats

REPORT_EVERY_SECONDS: Final = 5.0


async def report_counts(
    counts: CacheCounts, stats: CacheStats, *, every_seconds: float = REPORT_EVERY_SECONDS
) -> None:
    """Add to the shared counts what this process counted, until cancelled; then once more."""
    try:
        while True:
            await asyncio.sleep(every_seconds)
            await _report(counts, stats)
    finally:
        await _report(counts, stats)


async def _report(counts: CacheCounts, stats: CacheStats) -> None:
    hits, misses = counts.take()
    if not hits and not misses:
        return
    try:
        await stats.add(hits, misses, at_ms=now_ms())
    except LogUnavailable as lost:
        # Counted twice would be worse than not at all, where it may have been added.
        if not lost.outcome_unknown:
            counts.hits += hits
            counts.misses += misses

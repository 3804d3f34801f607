"""How often a session looks, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. `fresh` must be well below SILENT_SECONDS, after which a session may be forgotten."""

    look: float = 0.5
    probe: float = 1.5
    outage: float = 2.0
    objection: float = 5.0
    fresh: float = 15.0

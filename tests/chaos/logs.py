"""What the logs say that no fault explains."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, cast

WORKER_ENDED: Final = "Unexpected exit from worker"
_ALARMING: Final = frozenset({"error", "critical"})


def alarms(logs: Path, explained: Collection[str] = ()) -> Counter[str]:
    """Errors of the services by log and text, and what came out of them as bare text, like a traceback;
    but not events that are `explained`.
    """
    found = Counter[str]()
    for log in sorted(logs.glob("*-?.log")):
        for line in log.read_text(errors="replace").splitlines():
            text = _alarm(line)
            if text and text.partition(" ")[0] not in explained:
                found[f"{log.stem}: {text}"] += 1
    return found


def worker_ends(logs: Path) -> int:
    """How many workers of gateways ended while their gateway lived on."""
    return sum(log.read_text(errors="replace").count(WORKER_ENDED) for log in logs.glob("gateway-?.log"))


def _alarm(line: str) -> str | None:
    try:
        entry = cast("dict[str, Any]", json.loads(line))
    except ValueError:
        return line.strip()[:200] if line.startswith("Traceback") else None
    event = str(entry.get("event", ""))
    if entry.get("level") not in _ALARMING or event.startswith(WORKER_ENDED):
        return None
    error = entry.get("error") or entry.get("reason") or ""
    return f"{event.splitlines()[0]} {error}".strip()[:200]

"""After an import every conversation reads back as it stands in the file, in five states of the system.

Hot; with the caches dropped and a part of it only pending, because the persister stands still; after
`kill -9` of all services; out of PostgreSQL alone; after a restart of everything. The real data take a
minute: `python -m tests.e2e.five_states ../shared/data/sgd-dev.jsonl ../shared/data/taskmaster4.jsonl`.
"""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.five_states import show_five_states

pytestmark = pytest.mark.e2e

CONVERSATIONS, USERS = 60, 20


async def test_what_was_imported_reads_back_in_every_state(data_dir: Path) -> None:
    """Message by message, unknown fields and tool calls included; PostgreSQL has every row once."""
    path = data_dir.parent / "chats.jsonl"
    path.write_text("\n".join(json.dumps(chat) for chat in sample()) + "\n")
    said: list[str] = []
    await show_five_states(data_dir, [path], said.append)
    assert sum(f"{CONVERSATIONS} conversations are equal" in line for line in said) == 5


def sample() -> list[dict[str, Any]]:
    """Conversations such as the real ones, and one that is longer than a cached list."""
    dice = random.Random(20261121)
    lengths = [230, *(dice.randint(1, 40) for _ in range(CONVERSATIONS - 1))]
    return [
        {
            "conversation_id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            "user_id": f"user-{dice.randrange(USERS)}@example.com",
            "title": f"Chat {number}: „ü“ 😀",
            "model": "sample",
            "messages": [turn(dice, index) for index in range(length)],
        }
        for number, length in enumerate(lengths)
    ]


def turn(dice: random.Random, index: int) -> dict[str, Any]:
    """One message: text, a tool call, its result, a list of parts, or fields nobody knows."""
    at = {"created_at": f"2024-03-01T{9 + index // 60:02}:{index % 60:02}:09Z"}
    call = f"call_{index}"
    arguments = json.dumps({"query": "Chai \\ Latte"})
    function = {"id": call, "type": "function", "function": {"name": "find", "arguments": arguments}}
    kinds: list[dict[str, Any]] = [
        {"role": "user", "content": f"Turn {index}\nwith a second line and \u2028 more"},
        {"role": "assistant", "content": None, "tool_calls": [function]},
        {"role": "tool", "tool_call_id": call, "content": '{"items":[]}'},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image", "url": "x:y"}]},
        {"type": "reasoning", "summary": [], "score": dice.random(), "big": 2**70, "deep": {"a": [{}, None]}},
    ]
    return {**dice.choice(kinds), **at}

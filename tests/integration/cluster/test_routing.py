"""Every command that Turnlog sends finds the node that has its key, wherever it is sent at first."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from redis.exceptions import AskError

from common.domain.errors import LogUnavailable
from common.redis.cluster import ClusterClient
from common.redis.commands import Argument
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.routing import PLACES, SLOTS, NoRoute, slot_of, slot_of_key
from common.redis.topology import Topology
from tests.cluster import FOR_TESTS, Cluster
from tools.paths import ROOT

KEYLESS: Final = {"ASKING", "CLUSTER", "CONFIG", "DBSIZE", "FUNCTION", "INFO", "PUBLISH", "SCAN", "TIME"}
"""Commands to one server: `Client.nodes` and `Client.near` give it."""
KEY: Final = "chat:{4}:x"
SAMPLES: Final[list[tuple[Argument, ...]]] = [
    ("GET", KEY),
    ("SET", KEY, "v"),
    ("DEL", KEY),
    ("UNLINK", KEY, KEY),
    ("EXISTS", KEY),
    ("EXPIRE", KEY, 10),
    ("PEXPIRE", KEY, 10),
    ("PTTL", KEY),
    ("LRANGE", KEY, 0, -1),
    ("LINDEX", KEY, 0),
    ("HEXISTS", KEY, "f"),
    ("HGET", KEY, "f"),
    ("HMGET", KEY, "f", "g"),
    ("HSETNX", KEY, "f", "v"),
    ("HINCRBY", KEY, "f", 1),
    ("XADD", KEY, "*", "f", "v"),
    ("XLEN", KEY),
    ("XRANGE", KEY, "-", "+"),
    ("XREVRANGE", KEY, "+", "-"),
    ("XPENDING", KEY, "g"),
    ("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", KEY, ">"),
    ("XGROUP", "CREATE", KEY, "g", "0", "MKSTREAM"),
    ("XINFO", "GROUPS", KEY),
    ("ZRANGEBYSCORE", KEY, 0, 1),
    ("ZREVRANGE", KEY, 0, -1),
    ("FCALL", "turnlog_last_position", 1, KEY),
]


@pytest.fixture
async def client(whole: Cluster) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(whole.dsn)
    await Functions(client).load()
    yield client
    await client.aclose()


def test_every_command_in_the_source_has_a_rule(whole: Cluster) -> None:
    """A new command is added to the table and to the samples here, or to those that are for one server."""
    known = {name.upper() for name in whole.nodes[0].call("COMMAND", "LIST")}
    used = set(_words_of_commands()) & known
    assert "XADD" in used, "the source is not read as it should be"
    ours = set(PLACES) - FOR_TESTS
    assert used - KEYLESS == ours
    assert {str(sample[0]) for sample in SAMPLES} == ours


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample[0])
def test_a_rule_finds_the_key_that_the_server_finds(whole: Cluster, sample: tuple[Argument, ...]) -> None:
    """Its own reading of the command."""
    words = [word if isinstance(word, int) else str(word) for word in sample]
    [found, *_] = whole.nodes[0].call("COMMAND", "GETKEYS", *words)
    assert slot_of(sample) == slot_of_key(found)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample[0])
async def test_a_command_that_comes_to_the_wrong_node_is_answered_by_the_right_one(
    whole: Cluster, client: ClusterClient, sample: tuple[Argument, ...]
) -> None:
    """The map was old: MOVED, a new map, and once more."""
    right = whole.owner(KEY).address
    wrong = next(node.address for node in whole.nodes if node.address != right)
    await client.nodes()
    client._topology = Topology([wrong] * SLOTS, client._topology.ranges)
    [answer] = await asyncio.gather(client.call(*sample), return_exceptions=True)
    assert not isinstance(answer, AskError)
    assert not isinstance(answer, LogUnavailable)
    assert client._topology.owners[slot_of_key(KEY)] == right


def test_a_command_without_a_rule_is_a_mistake() -> None:
    """Never a guess."""
    with pytest.raises(NoRoute, match="OBJECT"):
        slot_of(("OBJECT", "ENCODING", KEY))


def test_every_function_is_guarded() -> None:
    """One that is not would run while its slot moves, and take the guard for a key of its own."""
    for file in Path(ROOT, "common/redis/lua").glob("*.lua"):
        if file.name != "shared.lua":
            assert "redis.register_function" not in file.read_text(), f"{file.name}: register_function"


def test_all_of_a_partition_is_in_one_slot() -> None:
    """What a function may be called with."""
    keys = Keys("chat", 8)
    for partition in range(keys.partitions):
        names = (keys.events(partition), keys.dead(partition), keys.log(partition), keys.volume(partition))
        assert len({slot_of_key(name) for name in names}) == 1


def _words_of_commands() -> Iterator[str]:
    """The first words of calls and of tuples in the source, where they may be commands of Redis."""
    for package in ("common", "services", "tools"):
        for file in sorted(Path(ROOT, package).rglob("*.py")):
            if file.name == "routing.py":
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                yield from _first_word(node)


def _first_word(node: ast.AST) -> Iterator[str]:
    words: list[Any] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("call", "send", "call_together", "ask", "_ask"):
            words = node.args
    elif isinstance(node, ast.Tuple):
        words = node.elts
    first = words[0].value if words and isinstance(words[0], ast.Constant) else None
    if isinstance(first, str) and re.fullmatch("[A-Z]{3,}", first):
        yield first

"""A client of a cluster whose slots move and whose nodes come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from common.domain.errors import LogUnavailable, UnsafeConfiguration
from common.domain.ids import ConversationId
from common.inspection import Inspection
from common.postgres.pool import open_pool
from common.redis.client import RedisClient
from common.redis.cluster import MAP_SECONDS, ClusterClient
from common.redis.connect import connect
from common.redis.functions import Functions
from common.redis.keys import Keys
from common.redis.routing import slot_of_key
from common.redis.server import prepare_server
from common.settings import RedisSettings, Settings
from tests.cluster import Cluster, Node, redis_settings, running_cluster
from tests.redis_parts import ALICE, NOW, RedisParts, message, redis_parts
from tests.waiting import wait_until

KEYS = Keys("chat", 8)
SLOT = slot_of_key(KEYS.log(KEYS.partition(ALICE)))


@pytest.fixture
async def redis(own: Cluster) -> AsyncIterator[RedisParts]:
    async with redis_parts(own.dsn) as parts:
        await parts.functions.load()
        yield parts


async def test_a_slot_that_moves_at_once_takes_its_log_along(own: Cluster, redis: RedisParts) -> None:
    """Valkey's own way (MIGRATESLOTS): appends go on, and each that was answered is there, once."""
    source, target = _from_and_to(own)
    if "MIGRATESLOTS" not in " ".join(source.call("CLUSTER", "HELP")):
        pytest.skip("before Valkey 9 slots move key by key")
    conversation = await redis.conversation()
    stop = asyncio.Event()
    appending = asyncio.create_task(_append_until(redis, conversation, stop))
    source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", target.call("CLUSTER", "MYID"))
    try:
        await wait_until(
            lambda: _serves(target),
            timeout_seconds=30,
            message=lambda: source.call("CLUSTER", "GETSLOTMIGRATIONS"),
        )
    finally:
        stop.set()
    acknowledged = await appending
    header = await redis.cache.header(ALICE, conversation)
    assert header is not None
    assert (
        header.next_sequence_number
        == len(set(acknowledged))
        == len(acknowledged)
        == len([entry for entry in await redis.events() if entry[b"type"] == b"messages.appended"])
    )


async def test_while_a_slot_moves_key_by_key_no_function_begins(own: Cluster, redis: RedisParts) -> None:
    """What it reaches beside its KEYS may have moved: half of an append would be on the log. After the move
    all is as it was, at the other node."""
    source, target = _from_and_to(own)
    conversation = await redis.conversation()
    events = KEYS.events(KEYS.partition(ALICE))
    length = await redis.client.call("XLEN", events)
    ids = {node.address: node.call("CLUSTER", "MYID") for node in own.nodes}
    target.call("CLUSTER", "SETSLOT", SLOT, "IMPORTING", ids[source.address])
    source.call("CLUSTER", "SETSLOT", SLOT, "MIGRATING", ids[target.address])
    moved = source.call("CLUSTER", "GETKEYSINSLOT", SLOT, 100)
    first, *rest = sorted(moved, key=lambda name: name != KEYS.volume(KEYS.partition(ALICE)))
    _migrate(source, target, first)

    with pytest.raises(LogUnavailable, match=r"rehashing|moving") as refused:
        await _append(redis, conversation, "not yet")
    assert not refused.value.outcome_unknown
    with pytest.raises(LogUnavailable, match=r"rehashing|moving"):
        # All its keys are still here: only what it reaches beside them is gone.
        await redis.log.log_query(ALICE, conversation, log_id="q", log=b"{}", at_ms=NOW)
    assert await redis.client.call("XLEN", events) == length
    assert await redis.client.call("EXISTS", first) == 1, "ASK leads to it"

    for name in rest:
        _migrate(source, target, name)
    for node in (target, source):
        node.call("CLUSTER", "SETSLOT", SLOT, "NODE", ids[target.address])
    assert await _append(redis, conversation, "now") == [0]
    assert await redis.client.call("XLEN", events) == length + 1


async def test_each_way_to_call_it_what_it_is_not_is_one_line(whole: Cluster, redis_url: str) -> None:
    """Which says what to set."""
    one_node = RedisSettings(url=SecretStr(whole.dsn))
    no_cluster = RedisSettings(url=SecretStr(redis_url), cluster=True)
    for settings, said in ((one_node, "set REDIS_CLUSTER=true"), (no_cluster, "set REDIS_CLUSTER=false")):
        if settings.dsn == redis_url and redis_url == whole.dsn:
            continue
        client = connect(settings)
        with pytest.raises(UnsafeConfiguration, match=said):
            await prepare_server(Functions(client), KEYS)
        await client.aclose()
    client = RedisClient(whole.dsn)
    with pytest.raises(LogUnavailable, match="set REDIS_CLUSTER=true"):
        await asyncio.gather(*(client.call("GET", KEYS.log(p)) for p in range(8)))
    await client.aclose()


async def test_nothing_is_repeated_whose_outcome_is_unknown(whole: Cluster) -> None:
    """The node died with the command; whether it was carried out, only it knew."""
    client = ClusterClient(whole.dsn)
    node = whole.owner(KEYS.misses(0))
    await client.call("XGROUP", "CREATE", KEYS.misses(0), "g", "0", "MKSTREAM")
    reading = ("XREADGROUP", "GROUP", "g", "c", "BLOCK", 60_000, "STREAMS", KEYS.misses(0), ">")
    waiting = client.send(*reading)
    await wait_until(lambda: "cmd=xreadgroup" in node.call("CLIENT", "LIST"))
    node.kill()
    with pytest.raises(LogUnavailable, match=str(node.address)) as lost:
        await waiting
    assert lost.value.outcome_unknown
    with pytest.raises(LogUnavailable, match=str(node.address)) as refused:
        await client.call("XLEN", KEYS.misses(0))
    assert not refused.value.outcome_unknown
    assert len(await client.nodes()) == 3, "the map comes from those that are left"
    await client.aclose()


async def test_without_a_node_there_is_a_line_and_no_wait() -> None:
    """As for a server that is alone."""
    client = ClusterClient("redis://127.0.0.1:1/0")
    async with asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(LogUnavailable, match="no node of the Redis cluster") as refused:
                await client.call("GET", KEYS.log(0))
            assert not refused.value.outcome_unknown
    await client.aclose()


@pytest.fixture
def parting() -> Iterator[Cluster]:
    """A cluster of one test: nodes that have lost sight of each other meet again after a minute only."""
    with running_cluster() as cluster:
        yield cluster


async def test_a_part_of_the_map_is_not_taken_for_the_whole(parting: Cluster, settings: Settings) -> None:
    """The node that is named has forgotten another: who knows others asks them, too, and who knows no better
    does not drop caches as if it had seen all."""
    client = ClusterClient(parting.dsn)
    assert len(await client.nodes()) == 3
    seed, _, other = parting.nodes
    seed.call("CLUSTER", "FORGET", other.call("CLUSTER", "MYID"))
    await asyncio.sleep(MAP_SECONDS)  # a younger map is not read anew
    assert len(await client.nodes()) == 3
    await client.aclose()
    clustered = settings.model_copy(update={"redis": redis_settings(parting.dsn)})
    async with open_pool(settings.postgres, application_name="test") as pool:
        with pytest.raises(LogUnavailable, match="not all partitions"):
            await Inspection(clustered, pool).start_afresh("a return")


async def test_a_client_that_is_closed_leaves_nobody_waiting() -> None:
    """Neither for the map, nor for a command that would be sent by it. A stand-in for a node that is frozen
    from the start: the kernel takes the connection, and nobody ever answers."""
    asked = asyncio.Event()

    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(freeze, "127.0.0.1", 0) as server:
        client = ClusterClient(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        command, nodes = client.send("GET", KEYS.log(0)), asyncio.create_task(client.nodes())
        await asked.wait()
        await client.aclose()
        for waiting in (command, nodes, client.send("GET", KEYS.log(0)), asyncio.create_task(client.nodes())):
            with pytest.raises(LogUnavailable, match="closed"):
                async with asyncio.timeout(5):
                    await waiting


async def _append(redis: RedisParts, conversation: ConversationId, text: str) -> list[int]:
    receipt = await redis.log.append(ALICE, conversation, [message(text, id=text)], at_ms=NOW)
    return receipt.sequence_numbers


async def _append_until(redis: RedisParts, conversation: ConversationId, stop: asyncio.Event) -> list[Any]:
    """Append one message after the other, each until it is answered."""
    numbers: list[int] = []
    for i in count():
        while True:
            try:
                numbers += await _append(redis, conversation, f"m{i}")
                break
            except LogUnavailable:
                await asyncio.sleep(0.02)
        if stop.is_set():
            return numbers
    raise AssertionError


def _from_and_to(own: Cluster) -> tuple[Node, Node]:
    source = next(node for node in own.nodes if _serves(node))
    return source, next(node for node in own.nodes if node is not source)


def _serves(node: Node) -> bool:
    ours = node.call("CLUSTER", "MYID")
    return any(a <= SLOT <= b and primary[2] == ours for a, b, primary, *_ in node.call("CLUSTER", "SLOTS"))


def _migrate(source: Node, target: Node, name: str) -> None:
    password = target.dsn.partition("//:")[2].partition("@")[0]
    host, port = target.address
    source.call("MIGRATE", host, port, name, 0, 5000, "AUTH", password)

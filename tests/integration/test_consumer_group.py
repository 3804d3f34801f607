"""The consumer group at its edges: empty pages, entries that are gone, reads that wait long."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import structlog.testing

from common.redis.info import parse_info
from common.settings import PersisterSettings, Settings
from services.persister.upkeep import Upkeep
from tests.persisters import running_persister, wait_settled
from tests.record import pool_of
from tests.redis_parts import ALICE, NOW, RedisParts, message, redis_parts
from tests.waiting import wait_until


@pytest.fixture
async def redis(settings: Settings) -> AsyncGenerator[RedisParts]:
    async with redis_parts(settings.redis.dsn) as parts:
        yield parts


def with_persister(settings: Settings, persister: PersisterSettings) -> Settings:
    """The same servers, another persister."""
    return settings.model_copy(update={"persister": persister})


async def test_claiming_goes_on_past_pages_that_hold_nothing(redis: RedisParts) -> None:
    """XAUTOCLAIM looks at a few entries at a time and gives those that are stale: none, perhaps, and more
    to come. Only its cursor tells when it has seen all."""
    conversation = await redis.conversation()
    for number in range(40):
        await redis.log.append(ALICE, conversation, [message(str(number))], at_ms=NOW)
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    entries = await redis.group.read_new(redis.client, partition, "busy", count=100, block_ms=1)
    stale = entries[-1].position
    events = redis.keys.events(partition)
    await redis.client.call("XCLAIM", events, "persisters", "dead", 0, stale, "IDLE", 60_000, "JUSTID")

    claiming = redis.group.claim_stale(partition, "next", min_idle_ms=30_000, count=1)
    pages = [page async for page in claiming]

    assert pages[0].entries == []
    assert [entry.position for page in pages for entry in page.entries] == [stale]


async def test_an_entry_that_is_gone_from_the_log_is_an_alarm(settings: Settings, redis: RedisParts) -> None:
    """Somebody took away what a consumer held. It cannot be written any more, and the rest is."""
    conversation = await redis.conversation()
    for text in "abc":
        await redis.log.append(ALICE, conversation, [message(text)], at_ms=NOW)
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    entries = await redis.group.read_new(redis.client, partition, "killed", count=10, block_ms=1)
    gone = entries[2].position
    await redis.client.call("XDEL", redis.keys.events(partition), gone)

    impatient = PersisterSettings(block_ms=20, claim_min_idle_seconds=0.1)
    with structlog.testing.capture_logs() as logs:
        async with running_persister(with_persister(settings, impatient)):
            await wait_settled(redis)

    [alarm] = [line for line in logs if line["event"] == "log_entries_lost"]
    assert (alarm["log_level"], alarm["positions"]) == ("error", [gone])
    async with pool_of(settings) as pool:
        stored = await pool.fetch("SELECT sequence_number FROM messages ORDER BY sequence_number")
    assert [row["sequence_number"] for row in stored] == [0, 2]


async def test_a_read_waits_for_its_whole_block(settings: Settings, redis: RedisParts) -> None:
    """A connection that is silent because nothing happens is not taken for a dead one."""

    async def reads() -> int:
        facts = parse_info(await redis.client.call("INFO", "commandstats"))
        return int(facts.get("cmdstat_xreadgroup", "calls=0,").split(",")[0].removeprefix("calls="))

    async def waiting() -> set[bytes]:
        clients = (await redis.client.call("CLIENT", "LIST")).splitlines()
        return {line.split()[0] for line in clients if b" cmd=xreadgroup " in line}

    async def all_wait() -> bool:
        return len(await waiting()) == redis.keys.partitions

    patient = PersisterSettings(block_ms=1_000)
    async with running_persister(with_persister(settings, patient)):
        await wait_until(all_wait)
        at_first, enough = await waiting(), await reads() + 2 * redis.keys.partitions

        async def all_waited_twice() -> bool:
            return await reads() >= enough and await all_wait()

        await wait_until(all_waited_twice)
        assert await waiting() == at_first


async def test_what_nobody_has_read_is_not_trimmed(redis: RedisParts) -> None:
    """However old it is: it is on its way to PostgreSQL."""
    conversation = await redis.conversation()
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    for number in range(400):
        await redis.log.append(ALICE, conversation, [message(str(number))], at_ms=NOW)
    await redis.group.read_new(redis.client, partition, "slow", count=1, block_ms=1)
    await redis.client.call("XACK", redis.keys.events(partition), "persisters", (await _first(redis)))

    await Upkeep(redis.group, partitions=8, replay_window_seconds=0).look_after(partition)

    assert len(await redis.events()) == 401


async def _first(redis: RedisParts) -> bytes:
    [(position, _)] = await redis.client.call(
        "XRANGE", redis.keys.events(redis.keys.partition(ALICE)), "-", "+", "COUNT", 1
    )
    return position

"""What is on the log comes to be in PostgreSQL, once, whatever happens to the persister meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from common.domain.errors import UnsafeConfiguration
from common.domain.ids import ConversationId
from common.domain.messages import parse_body
from common.postgres.log_identity import claim_partitions
from common.postgres.migrations import Migration, migrate, program_migrations
from common.postgres.pool import Pool
from common.postgres.store import Store
from common.redis.group import Committed
from common.settings import PersisterSettings, RedisSettings, Settings
from services.persister.__main__ import main
from services.persister.upkeep import Upkeep
from tests.persisters import (
    QUICK,
    dead_letters,
    persister_process,
    restartable,
    running_persister,
    wait_settled,
)
from tests.record import pool_of
from tests.redis_parts import ALICE, NOW, RedisParts, message, redis_parts
from tests.waiting import wait_until
from tools.embedded.postgres import postgres_server
from tools.embedded.server import free_port
from tools.embedded.valkey import valkey_server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A persister that does not let a test wait."""
    return settings.model_copy(update={"persister": QUICK})


@pytest.fixture
async def redis(settings: Settings) -> AsyncGenerator[RedisParts]:
    async with redis_parts(settings.redis.dsn) as parts:
        yield parts


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


async def contents(pool: Pool, conversation: ConversationId) -> list[str]:
    """What the stored messages say, in order."""
    loaded = await Store(pool).load(ALICE, conversation, 10_000)
    return [parse_body(m.body)["content"] for m in loaded.messages] if loaded else []


async def append(redis: RedisParts, conversation: ConversationId, *texts: str) -> None:
    """Append one message after the other."""
    for text in texts:
        await redis.log.append(ALICE, conversation, [message(text)], at_ms=NOW)


async def test_events_are_committed_and_settled(settings: Settings, redis: RedisParts, pool: Pool) -> None:
    """After the commit nothing is pending, and the lifetime of what is cached begins."""
    conversation = await redis.conversation()
    await append(redis, conversation, "a", "b", "c")
    keys = redis.keys.conversation(ALICE, conversation)
    assert await redis.client.call("PTTL", keys.header) == -1
    async with running_persister(settings):
        await wait_settled(redis)
    assert await contents(pool, conversation) == ["a", "b", "c"]
    assert await redis.client.call("EXISTS", keys.pending, keys.user_pending) == 0
    assert await redis.client.call("PTTL", keys.header) > 0


async def test_a_group_that_is_created_late_reads_from_the_beginning(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """Events that were published before any persister ever ran are not skipped."""
    conversation = await redis.conversation()
    await append(redis, conversation, "published before the group was there")
    groups = await redis.client.call("XINFO", "GROUPS", redis.keys.events(redis.keys.partition(ALICE)))
    assert groups == []
    async with running_persister(settings):
        await wait_settled(redis)
    assert await contents(pool, conversation) == ["published before the group was there"]


async def test_a_group_that_disappears_is_created_again(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """A Redis that lost its groups does not stop the persister, and rereading changes nothing."""
    conversation = await redis.conversation()
    async with running_persister(settings):
        await append(redis, conversation, "a")
        await wait_settled(redis)
        events = redis.keys.events(redis.keys.partition(ALICE))
        await redis.client.call("XGROUP", "DESTROY", events, "persisters")
        await append(redis, conversation, "b")
        await wait_until(lambda: _has(pool, conversation, ["a", "b"]))
        await wait_settled(redis)


async def test_a_poison_event_is_parked_alone(settings: Settings, redis: RedisParts, pool: Pool) -> None:
    """What cannot be read or stored goes to the dead letters with its error; the rest is committed."""
    conversation = await redis.conversation()
    events = redis.keys.events(redis.keys.partition(ALICE))
    await append(redis, conversation, *(f"before {i}" for i in range(20)))
    await redis.client.call("XADD", events, "*", "hello", "world")
    await redis.client.call("XADD", events, "*", "v", "2", "type", "messages.appended", "user", ALICE)
    poison = ("m0", '{"id":"nul \\u0000","created_at":"x"}')
    about = ("v", "1", "type", "messages.appended", "user", ALICE, "conversation", conversation)
    clock = ("version", "99", "epoch", "1", "at", NOW, "first", "20", "n", "1")
    await redis.client.call("XADD", events, "*", *about, *clock, *poison)
    await append(redis, conversation, *(f"after {i}" for i in range(20)))
    async with running_persister(settings):
        await wait_settled(redis)
    expected = [f"before {i}" for i in range(20)] + [f"after {i}" for i in range(20)]
    assert await contents(pool, conversation) == expected
    errors = sorted(letter[b"dead_error"].split(b":")[0] for letter in await dead_letters(redis))
    assert errors == [b"CharacterNotInRepertoireError", b"UnsupportedVersion", b"UnsupportedVersion"]


async def test_what_a_dead_consumer_left_is_claimed(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """It read and never settled; after the idle time another takes over, and then is alone."""
    conversation = await redis.conversation()
    await append(redis, conversation, "a", "b")
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    await redis.group.read_new(redis.client, partition, "killed", count=10, block_ms=1)
    impatient = PersisterSettings(block_ms=20, claim_min_idle_seconds=0.1)
    async with running_persister(settings.model_copy(update={"persister": impatient})):
        await wait_settled(redis)
    assert await contents(pool, conversation) == ["a", "b"]


async def test_persisters_that_take_each_others_entries_write_each_once(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """Three claim all the time what the others are at: every row is there once, nothing is parked."""
    conversations = [await redis.conversation() for _ in range(5)]
    greedy = PersisterSettings(block_ms=5, claim_min_idle_seconds=0.001, batch_events=7)
    settings = settings.model_copy(update={"persister": greedy})
    texts = [str(i) for i in range(60)]
    async with running_persister(settings), running_persister(settings), running_persister(settings):
        await asyncio.gather(*(append(redis, conversation, *texts) for conversation in conversations))
        await wait_settled(redis)
    for conversation in conversations:
        assert await contents(pool, conversation) == texts
    counts = await pool.fetch("SELECT message_count FROM conversations")
    assert [row[0] for row in counts] == [60] * 5
    assert await dead_letters(redis) == []


async def test_sigterm_in_the_middle_of_a_batch_loses_and_repeats_nothing(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """The batch that is under way is finished and settled, and only then the process ends."""
    conversation = await redis.conversation()
    async with running_persister(settings):
        await wait_settled(redis)
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT 1 FROM conversations FOR UPDATE")
        process = persister_process(settings)
        await append(redis, conversation, *(str(i) for i in range(50)))
        await wait_until(lambda: _writer_waits(pool))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(AssertionError):
            await wait_until(lambda: process.poll() is not None, timeout_seconds=0.5)
    _, said = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, said.decode()
    assert await contents(pool, conversation) == [str(i) for i in range(50)]
    lag = await redis.group.lag(redis.keys.partition(ALICE))
    assert (lag.waiting, lag.pending) == (0, 0)


async def test_kill_in_the_middle_of_a_batch_loses_nothing(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """The transaction of a process that is killed is rolled back; the next persister claims its entries."""
    conversation = await redis.conversation()
    async with running_persister(settings):
        await wait_settled(redis)
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT 1 FROM conversations FOR UPDATE")
        process = persister_process(settings)
        await append(redis, conversation, "a", "b")
        await wait_until(lambda: _writer_waits(pool))
        process.kill()
        await asyncio.to_thread(process.communicate)
    assert await contents(pool, conversation) == []
    impatient = PersisterSettings(block_ms=20, claim_min_idle_seconds=0.1)
    async with running_persister(settings.model_copy(update={"persister": impatient})):
        await wait_settled(redis)
    assert await contents(pool, conversation) == ["a", "b"]


async def test_a_persister_that_was_stopped_changes_nothing_when_it_wakes(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """Frozen in the middle of a batch, it is taken over from; awake, it writes it late, for nothing."""
    conversation = await redis.conversation()
    async with running_persister(settings):
        await wait_settled(redis)
    texts = [str(i) for i in range(30)]
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT 1 FROM conversations FOR UPDATE")
        process = persister_process(settings)
        await append(redis, conversation, *texts)
        await wait_until(lambda: _writer_waits(pool))
        process.send_signal(signal.SIGSTOP)
        await holder.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'turnlog-persister' AND wait_event_type = 'Lock'"
        )
    impatient = PersisterSettings(block_ms=20, claim_min_idle_seconds=0.1)
    async with running_persister(settings.model_copy(update={"persister": impatient})):
        await wait_settled(redis)
    assert await contents(pool, conversation) == texts
    before = await pool.fetch("SELECT * FROM conversations")
    process.send_signal(signal.SIGCONT)
    await append(redis, conversation, "after")
    await wait_settled(redis)
    process.send_signal(signal.SIGTERM)
    _, said = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, said.decode()
    assert b"stopped_before_all_was_written" not in said
    assert await contents(pool, conversation) == [*texts, "after"]
    [row], [old] = await pool.fetch("SELECT * FROM conversations"), before
    assert (row["message_count"], row["version"]) == (31, old["version"] + 1)
    assert await dead_letters(redis) == []


async def test_a_batch_that_takes_too_long_is_written_in_parts(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """A slow disk must not make the persister try for ever what cannot be done within the time-out."""
    await pool.execute(
        "CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END'"
    )
    await pool.execute(
        "CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION be_slow()"
    )
    conversation = await redis.conversation()
    texts = [str(i) for i in range(60)]
    await append(redis, conversation, *texts)
    hasty = settings.postgres.model_copy(update={"statement_timeout_seconds": 0.5})
    async with running_persister(settings.model_copy(update={"postgres": hasty})):
        await wait_settled(redis)
    assert await contents(pool, conversation) == texts
    assert await dead_letters(redis) == []


async def test_an_outage_of_postgresql_parks_and_loses_nothing(settings: Settings, redis: RedisParts) -> None:
    """Events wait on the log until PostgreSQL is back."""
    options = {"port": free_port(), "password": secrets.token_hex(16)}
    with restartable(postgres_server, **options) as server:
        dsn = server.spec.dsn.rpartition("/")[0] + "/postgres"
        await migrate(dsn)
        postgres = settings.postgres.model_copy(update={"url": SecretStr(dsn)})
        settings = settings.model_copy(update={"postgres": postgres})
        async with running_persister(settings) as running:
            conversation = await redis.conversation()
            await append(redis, conversation, "before")
            await wait_settled(redis)
            await asyncio.to_thread(server.stop)
            await append(redis, conversation, "during")
            await wait_until(lambda: _has_read_all(redis))
            await asyncio.to_thread(server.start)
            await append(redis, conversation, "after")
            await wait_settled(redis)
            assert not running.done()
        async with pool_of(settings) as pool:
            assert await contents(pool, conversation) == ["before", "during", "after"]
    assert await dead_letters(redis) == []


async def test_it_stops_during_an_outage_and_leaves_its_work_to_the_next(
    settings: Settings, redis: RedisParts, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be finished within the grace stays unacknowledged, and is claimed later."""
    monkeypatch.setattr("services.persister.persister.STOP_GRACE_SECONDS", 0.2)
    conversation = await redis.conversation()
    impatient = PersisterSettings(block_ms=20, claim_min_idle_seconds=0.1)
    settings = settings.model_copy(update={"persister": impatient})
    async with pool.acquire() as holder, holder.transaction():
        # The next best thing to a server that is away: one that never answers.
        await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        async with running_persister(settings):
            await append(redis, conversation, "a")
            await wait_until(lambda: _has_read_all(redis))
    assert (await redis.group.lag(redis.keys.partition(ALICE))).pending == 2
    async with running_persister(settings):
        await wait_settled(redis)
    assert await contents(pool, conversation) == ["a"]


async def test_a_restart_of_redis_is_survived(settings: Settings, pool: Pool) -> None:
    """The persister waits for Redis and goes on where it was."""
    with restartable(valkey_server, port=free_port(), password=secrets.token_hex(16)) as server:
        own = RedisSettings(url=SecretStr(server.spec.dsn))
        settings = settings.model_copy(update={"redis": own})
        async with running_persister(settings) as running, redis_parts(server.spec.dsn) as redis:
            conversation = await redis.conversation()
            await append(redis, conversation, "before")
            await wait_settled(redis)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await append(redis, conversation, "after")
            await wait_settled(redis)
            assert not running.done()
        assert await contents(pool, conversation) == ["before", "after"]


async def test_trimming_never_passes_what_is_not_committed(redis: RedisParts) -> None:
    """An entry that one consumer still holds keeps all after it, however small the replay window is."""
    conversation = await redis.conversation()
    await append(redis, conversation, *(str(i) for i in range(400)))
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)
    upkeep = Upkeep(redis.group, partitions=8, replay_window_seconds=0)
    held = (await redis.group.read_new(redis.client, partition, "slow", count=1, block_ms=1))[0]
    await redis.persist_all()
    await upkeep.look_after(partition)
    assert len(await redis.events()) == 401
    pages = redis.group.claim_stale(partition, "quick", min_idle_ms=0, count=10)
    assert [entry.position async for page in pages for entry in page.entries] == [held.position]
    await redis.client.call("XACK", redis.keys.events(partition), "persisters", held.position)
    await upkeep.look_after(partition)
    assert len(await redis.events()) < 200


async def test_a_consumer_that_is_forgotten_while_it_waits_gets_what_comes(
    settings: Settings, redis: RedisParts
) -> None:
    """To Redis 7.0 one that finds nothing is silent: it may be forgotten, but never with what it holds."""
    partition = redis.keys.partition(ALICE)
    await redis.group.create(partition)

    async def waits() -> bool:
        return any(b" cmd=xreadgroup " in clients for clients in await redis.everywhere("CLIENT", "LIST"))

    async with redis_parts(settings.redis.dsn) as other:
        reading = asyncio.create_task(
            redis.group.read_new(other.client, partition, "patient", count=9, block_ms=60_000)
        )
        await wait_until(waits)
        await redis.group.forget_consumers(partition, silent_ms=0)
        await redis.conversation()
        assert len(await reading) == 1
    assert (await redis.group.lag(partition)).pending == 1
    assert await redis.group.forget_consumers(partition, silent_ms=0) == []
    pages = redis.group.claim_stale(partition, "quick", min_idle_ms=0, count=10)
    assert len([entry async for page in pages for entry in page.entries]) == 1
    assert await redis.group.forget_consumers(partition, silent_ms=0) == ["patient"]


async def test_a_reader_that_dies_takes_the_process_with_it(settings: Settings, redis: RedisParts) -> None:
    """A persister that serves seven of eight partitions would look well: it stops, to be restarted."""
    await redis.client.call("SET", redis.keys.events(3), "not a stream")
    process = persister_process(settings)
    _, said = await asyncio.to_thread(process.communicate)
    assert process.returncode == 1
    assert b"WRONGTYPE" in said


async def test_it_waits_for_migrations(
    empty_postgres_dsn: str, settings: Settings, redis: RedisParts
) -> None:
    """A persister that starts before `turnlog migrate` has run begins when it has."""
    postgres = settings.postgres.model_copy(update={"url": SecretStr(empty_postgres_dsn)})
    settings = settings.model_copy(update={"postgres": postgres})
    await redis.conversation()
    async with running_persister(settings):
        await migrate(empty_postgres_dsn)
        await wait_settled(redis)


async def test_it_refuses_a_database_that_is_not_its_own(settings: Settings, pool: Pool) -> None:
    """Newer than the program, or the record of a log that is cut otherwise: it says so and stops."""
    stop = asyncio.Event()
    await claim_partitions(pool, 8)
    other = settings.model_copy(update={"redis": settings.redis.model_copy(update={"partitions": 4})})
    with pytest.raises(UnsafeConfiguration, match="REDIS_PARTITIONS=8"):
        await main(other, stop)
    await migrate(settings.postgres.dsn, [*program_migrations(), Migration("9999_later", "SELECT 1")])
    with pytest.raises(UnsafeConfiguration, match="newer than this program"):
        await main(settings, stop)


async def _has(pool: Pool, conversation: ConversationId, texts: list[str]) -> bool:
    return await contents(pool, conversation) == texts


async def _has_read_all(redis: RedisParts) -> bool:
    lag = await redis.group.lag(redis.keys.partition(ALICE))
    return lag.waiting == 0 and lag.pending > 0


async def _writer_waits(pool: Pool) -> bool:
    query = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'turnlog-persister' AND wait_event_type = 'Lock'"
    )
    return await pool.fetchval(query)


async def test_settled_again_after_it_was_trimmed_it_is_not_taken_for_lost(redis: RedisParts) -> None:
    """Two persisters had the same entry, and the slower one comes when it is off the log already: what waits
    in the same conversation keeps its header, in a log that says how far it was trimmed."""
    conversation = await redis.conversation()
    keys, partition = redis.keys.conversation(ALICE, conversation), redis.keys.partition(ALICE)
    # Redis trims a block of a hundred at a time.
    others = (redis.log.append(ALICE, conversation, [message(f"{i}")], at_ms=NOW) for i in range(150))
    await asyncio.gather(*others)
    [created, *_] = await redis.persist_all()
    await redis.log.append(ALICE, conversation, [message("waits")], at_ms=NOW)
    assert await redis.group.trim(partition, keep_from_ms=2**53)
    late = Committed(created.position, ALICE, conversation)
    await redis.group.committed(partition, [late])
    assert await redis.client.call("EXISTS", keys.header) == 1

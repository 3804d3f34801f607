"""A Redis that comes back without what PostgreSQL has: noticed before anything of it is used."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack

import psutil
import pytest
from pydantic import SecretStr
from pydantic_core import from_json
from structlog.testing import capture_logs

from common.domain.errors import LogUnavailable, UnsafeConfiguration
from common.domain.ids import ConversationId, Position, position_order
from common.domain.messages import numbered
from common.redis.client import RedisClient
from common.redis.functions import Functions
from common.redis.runs import Runs, Served, count_rollbacks, is_inspected, run_of
from common.redis.server import prepare_server
from common.settings import Settings
from tests.persisters import restartable, running_persister
from tests.redis_parts import ALICE, NOW, STATE, redis_parts
from tests.rollbacks import rounds
from tests.rolled_back import OwnRedis, Process, own_redis, persevering, process, using
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.embedded.valkey import valkey_server


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


@pytest.fixture
def own(settings: Settings, redis: OwnRedis) -> Settings:
    return using(settings, redis)


async def _once_then_later(
    own: Settings, redis: OwnRedis, old: Process
) -> tuple[ConversationId, ConversationId, int]:
    """A conversation and its file's size with two messages; then two more, and another conversation.

    PostgreSQL has everything; the caches are warm.
    """
    async with running_persister(own):
        conversation = await old.conversation("a", "b")
        await old.settled()
        size = redis.size()
        for text in ("c", "d"):
            await old.append(conversation, text)
        later = await old.conversation("later")
        await old.settled()
        assert await old.numbers(conversation) == [0, 1, 2, 3]
        assert await old.listed() == {conversation, later}
    return conversation, later, size


async def test_nothing_older_than_postgresql_is_read_or_numbered_from(own: Settings, redis: OwnRedis) -> None:
    """The file is cut back behind PostgreSQL: lists show what it has, numbers go on after its last."""
    async with process(own) as old, process(own) as new, AsyncExitStack() as stack:
        conversation, later, size = await _once_then_later(own, redis, old)
        await redis.cut_back(size)
        assert await old.numbers(conversation) == [0, 1, 2, 3]
        assert await new.numbers(conversation) == [0, 1, 2, 3]
        assert await old.listed() == await new.listed() == {conversation, later}
        assert await old.append(conversation, "e") == 4
        assert await new.append(later, "first after") == 1
        await stack.enter_async_context(running_persister(own))
        await old.settled()
        assert await old.stored(conversation) == [0, 1, 2, 3, 4]
        assert await old.numbers(conversation) == [0, 1, 2, 3, 4]


async def test_an_append_may_be_the_first_to_come(own: Settings, redis: OwnRedis) -> None:
    """No read has loaded anything anew before it; its position is after all that were given out."""
    async with process(own) as old:
        conversation, _, size = await _once_then_later(own, redis, old)
        end = await old.group.end(old.keys.partition(ALICE))
        await redis.cut_back(size)
        assert await old.append(conversation, "e") == 4
        new_end = await old.group.end(old.keys.partition(ALICE))
        assert end
        assert new_end
        assert position_order(new_end) > position_order(end)


async def test_what_was_pending_and_came_back_is_still_there(own: Settings, redis: OwnRedis) -> None:
    """Events that the older log still holds and PostgreSQL has not: they are read, listed and committed.

    And a conversation of which nothing is left but a position without its entry holds up nobody.
    """
    async with process(own) as old:
        conversation, later, _ = await _once_then_later(own, redis, old)
        fresh = await old.conversation("only on the log")
        await old.append(conversation, "e")
        size = redis.size()
        user = old.keys.partition(ALICE)
        other = await old.conversation("and this is lost from the log")
        # Another persister was slower: only what came last is in PostgreSQL.
        read = await old.read()
        await old.commit([entry for entry in read if entry.fields[b"conversation"] == other.encode()])
        hollow = await old.conversation()
        names = old.keys.conversation(ALICE, hollow)
        await redis.cut_back(size)
        async with redis_parts(own.redis.dsn) as by_hand:
            await by_hand.client.call("RPUSH", names.pending, "1-1")
            await by_hand.client.call("SADD", names.user_pending, hollow)
        assert await old.listed() == {conversation, later, fresh, other}
        assert await old.numbers(conversation) == [0, 1, 2, 3, 4]
        assert await old.numbers(fresh) == [0]
        assert not await old.client.call("EXISTS", names.pending)
        async with running_persister(own):
            await old.settled()
        assert await old.stored(conversation) == [0, 1, 2, 3, 4]
        assert await old.stored(fresh) == [0]
        assert (await old.group.lag(user)).pending == 0


async def test_a_delete_that_was_lost_stays_done(own: Settings, redis: OwnRedis) -> None:
    """The older Redis still had the conversation, list and all."""
    async with process(own) as old:
        conversation, later, size = await _once_then_later(own, redis, old)
        async with running_persister(own):
            await old.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
            await old.settled()
        await redis.cut_back(size)
        assert await old.listed() == {later}
        with pytest.raises(Exception, match=conversation):
            await old.numbers(conversation)


async def test_an_emptied_redis_is_filled_from_postgresql(own: Settings, redis: OwnRedis) -> None:
    """Functions, partition count, lists, counters: all come back, and the roll-back is counted."""
    async with process(own) as old:
        conversation, later, _ = await _once_then_later(own, redis, old)
        await redis.lose_everything()
        with capture_logs() as logs:
            assert await old.append(conversation, "e") == 4
        [said] = [line for line in logs if line["event"] == "redis_rolled_back"]
        assert said["log_level"] == "error"
        assert await old.listed() == {conversation, later}
        assert await old.numbers(conversation) == [0, 1, 2, 3, 4]
        async with running_persister(own):
            await old.settled()
        assert await old.stored(conversation) == [0, 1, 2, 3, 4]
        async with redis_parts(own.redis.dsn) as by_hand:
            assert await count_rollbacks(by_hand.client, by_hand.keys) == 1


async def test_a_restart_with_all_data_keeps_the_caches(own: Settings, redis: OwnRedis) -> None:
    """It is not behind: nothing is dropped."""
    async with process(own) as old:
        conversation, _, _ = await _once_then_later(own, redis, old)
        names = old.keys.conversation(ALICE, conversation)
        await redis.restart()
        assert await old.append(conversation, "e") == 4
        async with redis_parts(own.redis.dsn) as by_hand:
            assert await by_hand.client.call("LLEN", names.messages) == 5
            assert await count_rollbacks(by_hand.client, by_hand.keys) == 0


async def test_nothing_is_used_until_postgresql_can_be_asked(own: Settings, redis: OwnRedis) -> None:
    """A restarted Redis refuses while PostgreSQL is away, and says why; it is used once it is back."""
    nobody = own.postgres.model_copy(update={"url": SecretStr("postgresql://x:y@127.0.0.1:1/x")})
    async with process(own) as old, process(own.model_copy(update={"postgres": nobody})) as alone:
        conversation, _, size = await _once_then_later(own, redis, old)
        assert await alone.append(conversation, "same run: PostgreSQL need not be asked") == 4
        await redis.cut_back(size)
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="PostgreSQL"):
                await alone.client.call("PING")
        assert await old.numbers(conversation) == [0, 1, 2, 3]
        await persevering(lambda: alone.client.call("PING"))


async def test_a_frozen_server_is_the_same_run(own: Settings, redis: OwnRedis) -> None:
    """It stands still for longer than its clients wait: they connect anew, and nothing is inspected."""
    async with process(own) as old:
        conversation = await old.conversation("a")
        frozen = psutil.Process(int(redis.server.spec.pid_file.read_text().split()[0]))
        with capture_logs() as logs:
            frozen.suspend()
            try:
                assert isinstance(old.client, RedisClient)
                old.client._response_timeout = 0.1
                waiting = asyncio.create_task(old.append(conversation, "b"))
                await wait_until(lambda: any(line["event"] == "redis_silent" for line in logs))
            finally:
                frozen.resume()
            assert await waiting == 1
        assert not [line for line in logs if line["event"] == "redis_inspected"]


async def test_many_inspect_at_once_and_it_is_one_roll_back(own: Settings, redis: OwnRedis) -> None:
    """Whoever comes second finds the work done, or does it again without harm."""
    async with AsyncExitStack() as stack:
        everyone = [await stack.enter_async_context(process(own)) for _ in range(5)]
        conversation, _, size = await _once_then_later(own, redis, everyone[0])
        await redis.cut_back(size)
        numbers = await asyncio.gather(*(one.append(conversation, "x") for one in everyone))
        assert sorted(numbers) == [4, 5, 6, 7, 8]
        for one in everyone:
            assert await one.numbers(conversation) == list(range(9))
        async with redis_parts(own.redis.dsn) as by_hand:
            assert await count_rollbacks(by_hand.client, by_hand.keys) == 1


async def test_an_inspector_who_comes_late_takes_nothing_away(own: Settings) -> None:
    """It stood still in the middle; others have inspected meanwhile, and work."""
    async with process(own) as one, redis_parts(own.redis.dsn) as by_hand:
        conversation = await one.conversation("a")
        names = one.keys.conversation(ALICE, conversation)
        run = str((await by_hand.client.call("HGET", one.keys.log(0), "run_id")).decode())
        runs = Runs(by_hand.functions, by_hand.keys, Served(run, (0,)), ttl_ms=1)
        assert await runs.drop(one.keys.partition(ALICE), [names.header, names.messages]) is None
        assert await one.numbers(conversation) == [0]


async def test_a_replica_that_lagged_takes_over(own: Settings, redis: OwnRedis) -> None:
    """Before that it is refused: what a replica shows may be old."""
    password = redis.dsn.partition("//:")[2].partition("@")[0]
    with restartable(valkey_server, port=free_port(), password=secrets.token_hex(16)) as server:
        theirs = own.model_copy(
            update={"redis": own.redis.model_copy(update={"url": SecretStr(server.spec.dsn)})}
        )
        async with (
            process(own) as old,
            process(theirs) as new,
            redis_parts(server.spec.dsn) as replica,
            running_persister(own),
        ):
            conversation = await old.conversation("a", "b")
            await old.settled()
            await replica.client.call("CONFIG", "SET", "masterauth", password)
            await old.client.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
            port = own.redis.dsn.rpartition(":")[2].partition("/")[0]
            await replica.client.call("REPLICAOF", "127.0.0.1", port)
            header = old.keys.conversation(ALICE, conversation).header

            async def copied() -> bool:
                return await replica.client.call("HGET", header, "next") == b"2"

            await wait_until(lambda: persevering(copied))
            with pytest.raises(LogUnavailable):
                await new.client.call("PING")
            await replica.client.call("CONFIG", "SET", "masterauth", "wrong")
            await old.client.call("CLIENT", "KILL", "TYPE", "replica")
            assert await old.append(conversation, "c") == 2
            await old.settled()
            await replica.client.call("REPLICAOF", "NO", "ONE")
            assert await new.append(conversation, "d") == 3
            assert await new.numbers(conversation) == [0, 1, 2, 3]


async def test_a_demoted_server_is_left(own: Settings, redis: OwnRedis) -> None:
    """What it holds may be replaced while it is a replica: when it leads again, it is asked again."""
    async with process(own) as one, redis_parts(own.redis.dsn) as by_hand:
        conversation = await one.conversation("a")
        await by_hand.client.call("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(LogUnavailable):
            await one.parts.publisher.create(ALICE, STATE, at_ms=NOW)
        await by_hand.client.call("REPLICAOF", "NO", "ONE")
        # As if another's data had come: nobody has inspected these.
        await by_hand.client.call("HDEL", one.keys.log(0), "run_id")
        with capture_logs() as logs:
            assert await one.append(conversation, "b") == 1
        assert [line for line in logs if line["event"] == "redis_inspected"]


async def test_a_policy_that_may_evict_the_log_is_seen_at_every_restart(
    own: Settings, redis: OwnRedis
) -> None:
    """The configuration may have changed in between; the text says to what it must be changed back."""
    async with redis_parts(own.redis.dsn) as by_hand:
        await by_hand.client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with process(own) as one:
        with pytest.raises(LogUnavailable, match="noeviction"):
            await one.client.call("PING")
        with pytest.raises(UnsafeConfiguration):
            await prepare_server(Functions(one.client), one.keys)


async def test_a_log_goes_on_after_what_postgresql_has_whatever_the_clock_says(
    own: Settings, redis: OwnRedis
) -> None:
    """Redis numbers positions by its clock; one that was set back must not make it repeat any."""
    async with process(own) as one, redis_parts(own.redis.dsn) as by_hand:
        await one.conversation()
        partition = one.keys.partition(ALICE)
        ahead = Position("99999999999999-7")
        run = await run_of(by_hand.client.call_together)
        runs = Runs(by_hand.functions, by_hand.keys, Served(run, (partition,)), ttl_ms=1)
        await by_hand.client.call("HDEL", one.keys.log(partition), "run_id")
        assert await runs.admit(partition, ahead) is not None
        assert await runs.last_position(partition) == ahead
        await one.conversation()
        end = await one.group.end(partition)
        assert end
        assert position_order(end) > position_order(ahead)


async def test_a_run_is_stamped_once(own: Settings) -> None:
    """Two who inspected at once, and PostgreSQL went on in between: the second changes nothing."""
    async with redis_parts(own.redis.dsn) as by_hand:
        run = await run_of(by_hand.client.call_together)
        runs = Runs(by_hand.functions, by_hand.keys, Served(run, (0,)), ttl_ms=1)
        assert await runs.admit(0, Position("5-0")) == "0-0"
        assert await runs.admit(0, Position("6-0")) is None
        assert await count_rollbacks(by_hand.client, by_hand.keys) == 1


async def test_an_inspector_of_an_earlier_run_changes_nothing(own: Settings, redis: OwnRedis) -> None:
    """It stood still while Redis was restarted once more; others have inspected that run, and work.

    It knows the run before only, so "this run was inspected" is no answer to it.
    """
    async with process(own) as one, redis_parts(own.redis.dsn) as by_hand:
        conversation = await one.conversation("a")
        names, partition = one.keys.conversation(ALICE, conversation), one.keys.partition(ALICE)
        earlier = await run_of(by_hand.client.call_together)
        runs = Runs(by_hand.functions, by_hand.keys, Served(earlier, (partition,)), ttl_ms=1)
        await redis.restart()
        assert await one.append(conversation, "b") == 1
        taken = [names.header, names.messages]
        assert await persevering(lambda: runs.drop(partition, taken)) is None
        assert await one.client.call("EXISTS", names.header, names.messages) == 2
        with pytest.raises(LogUnavailable, match="again"):
            await runs.admit(partition, Position("99999999999999-7"))
        run = await run_of(by_hand.client.call_together)
        everything = Served(run, tuple(range(by_hand.keys.partitions)))
        assert await is_inspected(by_hand.client.call_together, by_hand.keys, everything)
        assert await count_rollbacks(by_hand.client, by_hand.keys) == 0


async def test_what_was_on_its_way_when_redis_lost_it_is_kept(own: Settings, redis: OwnRedis) -> None:
    """A persister had read two events when Redis came back without them, and PostgreSQL had neither yet.

    So nothing was behind. When they are committed, Redis learns that it lacks them, and shows them.
    """
    async with process(own) as one, process(own) as other:
        conversation = await one.conversation("a", "b")
        async with running_persister(own):
            await one.settled()
        assert await one.numbers(conversation) == [0, 1]
        size = redis.size()
        for text in ("lost from the log", "this too"):
            await one.append(conversation, text)
        held = await one.read()
        await redis.cut_back(size)
        assert await one.numbers(conversation) == [0, 1]
        await one.commit(held)
        assert await one.numbers(conversation) == await other.numbers(conversation) == [0, 1, 2, 3]

        assert await one.append(conversation, "c") == 4
        async with running_persister(own):
            await one.settled()
        assert await one.stored(conversation) == [0, 1, 2, 3, 4]


async def test_a_number_that_was_given_again_is_given_up(own: Settings, redis: OwnRedis) -> None:
    """As before, but the number was given before the lost event was committed: the later one moves."""
    async with process(own) as one, process(own) as other:
        conversation = await one.conversation("a", "b")
        async with running_persister(own):
            await one.settled()
        size = redis.size()
        await one.append(conversation, "lost from the log")
        held = await one.read()
        await redis.cut_back(size)
        assert await one.append(conversation, "c") == 2
        await one.commit(held)
        # A list that shows the later one where the lost one stands is cached until the later one moves.
        assert await one.numbers(conversation) == [0, 1, 2]
        async with running_persister(own):
            await one.settled()
        for reader in (one, other):
            found = await reader.parts.history.recent(ALICE, conversation, 50)
            messages = [numbered(message) for message in found]
            texts = [from_json(message.body)["content"] for message in messages]
            assert texts == ["a", "b", "lost from the log", "c"]
            assert [message.sequence_number for message in messages] == [0, 1, 2, 3]
        assert await one.append(conversation, "d") == 4


async def test_cut_back_again_and_again_nothing_is_lost_or_given_twice(
    own: Settings, redis: OwnRedis
) -> None:
    """`python -m tests.rollbacks` in small: appends to many conversations, then any earlier moment."""
    report = await rounds(own, redis, times=2, seed=1, seconds=0.3)
    assert report.numbers
    assert report.good, report

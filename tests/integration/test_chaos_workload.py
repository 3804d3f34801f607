"""The workload and the checker on real services without faults, and with some that are made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from common.domain.ids import ConversationId, UserId
from common.settings import Settings
from services.cache_builder.__main__ import main as cache_builder
from tests.chaos.checker import check
from tests.chaos.final import read_finally
from tests.chaos.gate import Gate
from tests.chaos.history import Kind, Outcome, Recorder, read_history
from tests.chaos.stored import load_record
from tests.chaos.verdict import Verdict, Violation
from tests.chaos.workload import run_workload
from tests.gateways import RunningGateway, running_gateway
from tests.persisters import QUICK, running_persister, wait_settled
from tests.redis_parts import RedisParts, redis_parts
from tests.waiting import wait_until

CLIENTS: Final = 12


@dataclass(frozen=True)
class Instance:
    """Two gateways, and what is written down of them."""

    gateways: list[RunningGateway]
    settings: Settings
    recorder: Recorder

    async def work(self, *, operations: int, pause: Gate | None = None) -> None:
        """Let clients work until so many calls were made, then until PostgreSQL has all of it."""
        stop = asyncio.Event()
        working = asyncio.create_task(
            run_workload(
                self.urls,
                token_for=self.gateways[0].token,
                recorder=self.recorder,
                seed=20260101,
                clients=CLIENTS,
                stop=stop,
                pause=pause or Gate(),
                users=3,
                pace=3000,
            )
        )
        await wait_until(
            lambda: self.recorder.counts.total() >= operations or working.done(), timeout_seconds=60
        )
        stop.set()
        await working
        self.recorder.flush()
        await self.settle()

    async def settle(self) -> None:
        """Return when PostgreSQL has all that was answered: at once, without Redis."""

    async def drop_caches(self) -> None:
        """Take away every key that may expire: none, without Redis."""

    @property
    def urls(self) -> list[str]:
        return [gateway.url for gateway in self.gateways]

    @property
    def users(self) -> list[UserId]:
        return sorted({UserId(operation.user) for operation in read_history(self.recorder.path)})

    async def read_all(self) -> None:
        """The final reads, through both gateways."""
        operations = read_history(self.recorder.path)
        token_for = self.gateways[0].token
        await read_finally(self.urls, token_for=token_for, recorder=self.recorder, operations=operations)

    async def verdict(self) -> Verdict:
        """What the checker says of all of it."""
        record = await load_record(self.settings.postgres.dsn, self.users)
        return check(read_history(self.recorder.path), record)

    async def some_message(self) -> tuple[UserId, ConversationId, str]:
        """The newest message of some conversation that is read: user, conversation, tag."""
        record = await load_record(self.settings.postgres.dsn, self.users)
        longest = max(record.conversations, key=lambda conversation: len(conversation.messages))
        return UserId(longest.user), ConversationId(longest.id), longest.messages[-1].tag


@dataclass(frozen=True)
class InstanceWithRedis(Instance):
    """A persister and a builder, too."""

    redis: RedisParts

    async def settle(self) -> None:
        for user in self.users:
            await wait_settled(self.redis, user)

    async def drop_caches(self) -> None:
        for key in await self.redis.client.call("KEYS", "*"):
            if await self.redis.client.call("PTTL", key) >= 0:
                await self.redis.client.call("DEL", key)


@asynccontextmanager
async def instance(settings: Settings, directory: Path) -> AsyncGenerator[InstanceWithRedis]:
    """All services in this process, on real servers."""
    stop = asyncio.Event()
    settings = settings.model_copy(update={"persister": QUICK})
    async with (
        running_gateway(settings) as first,
        running_gateway(settings) as second,
        running_persister(settings),
        redis_parts(settings.redis.dsn) as redis,
    ):
        building = asyncio.create_task(cache_builder(settings, stop))
        try:
            with Recorder(directory / "history.jsonl") as recorder:
                yield InstanceWithRedis([first, second], settings, recorder, redis)
        finally:
            stop.set()
            await building


@asynccontextmanager
async def instance_alone(settings: Settings, directory: Path) -> AsyncGenerator[Instance]:
    """The gateways in this process, on PostgreSQL alone."""
    async with running_gateway(settings) as first, running_gateway(settings) as second:
        with Recorder(directory / "history.jsonl") as recorder:
            yield Instance([first, second], settings, recorder)


async def test_a_system_without_faults_breaks_no_promise(kept: Settings, tmp_path: Path) -> None:
    """Every kind of call was made and answered, and the checker has looked at all of it."""
    opened = instance if kept.uses_redis else instance_alone
    async with opened(kept, tmp_path) as running:
        await running.work(operations=1000)
        await running.read_all()
        await running.drop_caches()
        await running.read_all()

        verdict = await running.verdict()

    counts = running.recorder.counts
    assert verdict.clean, verdict.text()
    assert verdict.messages > 1000
    answered = {kind: counts[kind, Outcome.OK] for kind in Kind}
    assert min(answered.values()) >= 1, answered
    assert sum(answered.values()) > 700
    assert counts[Kind.APPEND, Outcome.REFUSED] > 0  # to a deleted one, and to another user's
    assert counts[Kind.APPEND, Outcome.UNKNOWN] > 0  # where the client did not wait


async def test_a_row_that_is_lost_is_found(settings: Settings, tmp_path: Path) -> None:
    """PostgreSQL forgets a message: the record and every read without the cache are witnesses."""
    async with instance(settings, tmp_path) as running:
        await running.work(operations=300)
        user, conversation, tag = await running.some_message()
        connection = await asyncpg.connect(settings.postgres.dsn)
        await connection.execute(
            "DELETE FROM messages WHERE user_id = $1 AND conversation_id = $2 AND sequence_number ="
            " (SELECT max(sequence_number) FROM messages WHERE user_id = $1 AND conversation_id = $2)",
            user,
            conversation,
        )
        await connection.close()
        await running.drop_caches()
        await running.read_all()

        verdict = await running.verdict()

    assert [evidence.subject for evidence in verdict.of(Violation.LOST)] == [tag], verdict.text()


async def test_a_cached_list_that_is_short_is_found(settings: Settings, tmp_path: Path) -> None:
    """Redis forgets the newest message of a list: a stale read, though the record is whole."""
    async with instance(settings, tmp_path) as running:
        await running.work(operations=300)
        user, conversation, tag = await running.some_message()
        await running.read_all()  # so that the list is there
        await running.redis.client.call("RPOP", running.redis.keys.messages(user, conversation))
        await running.read_all()

        verdict = await running.verdict()

    lost = [evidence.subject for evidence in verdict.of(Violation.LOST)]
    assert lost == [tag], verdict.text()
    assert "the record" not in verdict.of(Violation.LOST)[0].text


async def test_a_paused_workload_makes_no_call(settings: Settings, tmp_path: Path) -> None:
    """While the gate is shut, nothing is under way and nothing is begun; then it goes on."""
    gate = Gate()
    async with instance(settings, tmp_path) as running:
        recorder = running.recorder
        working = asyncio.create_task(running.work(operations=200, pause=gate))
        await wait_until(lambda: recorder.counts.total() > 50)
        gate.pause()
        await gate.idle()
        before = recorder.counts.total()
        for _ in range(20):  # turns of the loop in which clients would call
            await running.redis.client.call("PING")
        assert (recorder.counts.total(), gate.under_way) == (before, 0)
        gate.resume()
        await working

    assert recorder.counts.total() > before

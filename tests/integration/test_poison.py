"""Poison is parked and the rest is stored; but when most is refused, it is not the events, and nothing is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Final

import pytest
from pydantic import SecretStr

from common.domain.ids import ConversationId, Position, now_ms, position_order
from common.postgres.migrations import migrate
from common.postgres.pool import Pool
from common.redis.breaker import BreakerBoard, OpenBreaker
from common.settings import Settings
from tests.persisters import dead_letters, restartable, running_persister, wait_settled
from tests.poison import Fields, contents, impatient, publish, refuse_messages, take_messages
from tests.record import pool_of
from tests.redis_parts import ALICE, RedisParts, redis_parts
from tests.waiting import wait_until
from tools.embedded.postgres import postgres_server
from tools.embedded.server import free_port
from tools.status.collect import collect

BATCH: Final = 199
"""With the creation of the conversation they are one read, and one batch."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return impatient(settings)


@pytest.fixture
async def redis(settings: Settings) -> AsyncGenerator[RedisParts]:
    async with redis_parts(settings.redis.dsn) as parts:
        yield parts


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with pool_of(settings) as pool:
        yield pool


def board(redis: RedisParts) -> BreakerBoard:
    return BreakerBoard(redis.client, redis.keys)


async def open_breaker(redis: RedisParts, held: int) -> OpenBreaker:
    """Wait until a persister says that it holds so many events back."""

    async def is_open() -> bool:
        found = await board(redis).read()
        return found is not None and found.held == held

    await wait_until(is_open, message=f"a breaker that holds {held}")
    found = await board(redis).read()
    assert found is not None
    return found


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("percent", [1, 10])
async def test_poison_is_parked_and_the_rest_is_stored(
    settings: Settings, redis: RedisParts, pool: Pool, percent: int, place: str
) -> None:
    """Wherever it stands in a batch; each letter says where the event stood and has it byte for byte."""
    count = BATCH * percent // 100 or 1
    start = {"first": 0, "middle": (BATCH - count) // 2, "last": BATCH - count}[place]
    poison = range(start, start + count)
    published = await publish(redis, BATCH, poison)
    began = now_ms()
    async with running_persister(settings):
        await wait_settled(redis)
    assert await contents(pool, published.conversation) == published.rows(poison)

    letters = sorted(await dead_letters(redis), key=_place)
    assert [letter[b"dead_position"].decode() for letter in letters] == [
        published.positions[i] for i in poison
    ]
    for letter, i in zip(letters, poison, strict=True):
        event = {name: value for name, value in letter.items() if not name.startswith(b"dead_")}
        assert event == published.entries[i]
        assert int(letter[b"dead_partition"]) == redis.keys.partition(ALICE)
        assert began <= int(letter[b"dead_at"]) <= now_ms()
        assert letter[b"dead_by"]
        assert letter[b"dead_error"].startswith(letter[b"dead_class"] + b": ")
    states = {letter[b"dead_sqlstate"] for letter in letters}
    assert states == ({b"", b"22021"} if count > 2 else {b""})


async def test_nothing_but_poison_opens_the_breaker_and_parks_nothing(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """Nor does a supervisor that starts the persister again and again make it park anything."""
    published = await publish(redis, BATCH, range(BATCH))
    for _ in range(3):
        async with running_persister(impatient(settings, claim_min_idle_seconds=0.05)):
            await open_breaker(redis, BATCH)
            await board(redis).clear()
            await open_breaker(redis, BATCH)  # it has tried again, and said so again
    assert await dead_letters(redis) == []
    assert await contents(pool, published.conversation) == []
    lag = await redis.group.lag(redis.keys.partition(ALICE))
    assert lag.pending == BATCH


async def test_a_trickle_of_poison_opens_the_breaker_too(settings: Settings, redis: RedisParts) -> None:
    """Each batch is too small to judge by itself, and a restart forgets nothing: few are parked."""
    stream = redis.keys.events(redis.keys.partition(ALICE))
    for _ in range(4):
        async with running_persister(impatient(settings, claim_min_idle_seconds=0.05)):
            for _ in range(10):
                await redis.client.call("XADD", stream, "*", "v", "9")
                await wait_until(lambda: _decided_or_held(redis))
    assert len(await dead_letters(redis)) < settings.persister.breaker_min_events


async def test_the_breaker_closes_by_itself_when_the_cause_is_gone(
    settings: Settings, redis: RedisParts, pool: Pool
) -> None:
    """A broken trigger refuses everything; when it is mended everything is stored and nothing was parked."""
    await refuse_messages(pool)
    published = await publish(redis, BATCH, [])
    async with running_persister(settings):
        shown = await open_breaker(redis, BATCH)
        assert shown.error == "InvalidParameterValueError 22023"
        status = await collect(settings, "http://127.0.0.1:1")
        assert any("breaker is open" in problem and "22023" in problem for problem in status.problems)
        more = await publish(redis, 30, [])
        await open_breaker(redis, BATCH + 30)
        await take_messages(pool)
        await wait_settled(redis)
        assert await board(redis).read() is None
    assert await contents(pool, published.conversation) == published.rows([])
    assert await contents(pool, more.conversation) == more.rows([])
    assert await dead_letters(redis) == []


async def test_good_events_go_on_and_close_the_breaker(
    settings: Settings, redis: RedisParts, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One publisher's nonsense holds nobody up; once it is not most any more, it is parked."""
    monkeypatch.setattr("services.persister.breaker.FIRST_PAUSE_SECONDS", 3600)
    await publish(redis, 60, range(60))
    async with running_persister(impatient(settings, breaker_probe_seconds=3600)):
        await open_breaker(redis, 60)
        some = await publish(redis, 30, [])
        await wait_until(lambda: _has(pool, some.conversation, some.rows([])))
        assert await dead_letters(redis) == []
        await publish(redis, 40, [])
        await wait_settled(redis)
        assert len(await dead_letters(redis)) == 60
        assert await board(redis).read() is None


async def test_what_is_held_back_is_bounded(settings: Settings, redis: RedisParts, pool: Pool) -> None:
    """No more than a batch is kept in memory; the rest stays on the log, unread."""
    await publish(redis, 500, range(500))
    async with running_persister(impatient(settings, batch_events=50)):
        await open_breaker(redis, 50)
        lag = await redis.group.lag(redis.keys.partition(ALICE))
        assert lag.waiting > 0
    assert await dead_letters(redis) == []


async def test_an_operator_can_have_everything_parked(settings: Settings, redis: RedisParts) -> None:
    """By a permit for a while (`turnlog dead park`), or by the setting."""
    await publish(redis, BATCH, range(BATCH))
    async with running_persister(settings):
        await open_breaker(redis, BATCH)
        await board(redis).permit_parking(60)
        await wait_settled(redis)
    assert len(await dead_letters(redis)) == BATCH
    await redis.client.call("DEL", redis.keys.parking_permit())
    await publish(redis, BATCH, range(BATCH))
    async with running_persister(impatient(settings, breaker_enabled=False)):
        await wait_settled(redis)
    assert len(await dead_letters(redis)) == 2 * BATCH


async def test_an_outage_neither_parks_nor_opens_the_breaker(settings: Settings, redis: RedisParts) -> None:
    """PostgreSQL goes in the middle of a batch with poison and comes back: the verdicts are the same."""
    options = {"port": free_port(), "password": secrets.token_hex(16)}
    with restartable(postgres_server, **options) as server:
        dsn = server.spec.dsn.rpartition("/")[0] + "/postgres"
        await migrate(dsn)
        postgres = settings.postgres.model_copy(update={"url": SecretStr(dsn)})
        settings = settings.model_copy(update={"postgres": postgres})
        async with running_persister(settings):
            await publish(redis, 1, [])
            await wait_settled(redis)
            await asyncio.to_thread(server.stop)
            published = await publish(redis, BATCH, {3, 100})
            await wait_until(lambda: _has_read_all(redis))
            assert await board(redis).read() is None
            assert await dead_letters(redis) == []
            await asyncio.to_thread(server.start)
            await wait_settled(redis)
        async with pool_of(settings) as pool:
            assert await contents(pool, published.conversation) == published.rows({3, 100})
    assert len(await dead_letters(redis)) == 2


async def test_an_event_with_more_fields_than_lua_can_pass_on_is_parked_whole(
    settings: Settings, redis: RedisParts
) -> None:
    """It must not end the persister, which would find it again after each restart."""
    words = [f"{word}{i}" for i in range(5000) for word in ("field", "value")]
    await redis.client.call("XADD", redis.keys.events(redis.keys.partition(ALICE)), "*", *words)
    async with running_persister(settings) as running:
        await wait_settled(redis)
        assert not running.done()
    [letter] = await dead_letters(redis)
    assert letter[b"dead_packed"] == "".join(f"{len(word)}:{word}" for word in words).encode()


def _place(letter: Fields) -> tuple[int, int]:
    return position_order(Position(letter[b"dead_position"].decode()))


async def _has(pool: Pool, conversation: ConversationId, texts: list[str]) -> bool:
    return await contents(pool, conversation) == texts


async def _has_read_all(redis: RedisParts) -> bool:
    lag = await redis.group.lag(redis.keys.partition(ALICE))
    return lag.waiting == 0 and lag.pending > 0


async def _decided_or_held(redis: RedisParts) -> bool:
    lag = await redis.group.lag(redis.keys.partition(ALICE))
    if lag.waiting:
        return False
    shown = await board(redis).read()
    return lag.pending == (shown.held if shown else 0)

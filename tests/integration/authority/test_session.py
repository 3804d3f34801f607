"""Who has the say moves from the log to the record when all agree, and back; never against anyone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from common.contract.stream import decode
from common.domain.errors import LogUnavailable
from common.domain.ids import ConversationId, Position, new_conversation_id
from common.postgres.authority import (
    AuthorityMoved,
    AuthorityStore,
    AwaitsLog,
    Holder,
    Term,
    guard_change,
    guard_read,
)
from common.postgres.changes import Recorded
from common.postgres.pool import Pool, open_pool
from common.postgres.writer import BatchWriter
from common.redis.log import FRESH, Creation
from common.settings import Settings
from tests.chaos.proxy import Direction
from tests.redis_parts import ALICE, NOW, STATE, message, redis_parts
from tests.sessions import QUICK, Process, process, term
from tests.waiting import wait_until


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    async with open_pool(settings.postgres, application_name="test") as pool:
        yield pool


async def test_a_process_shows_itself_and_uses_the_log(settings: Settings, pool: Pool) -> None:
    async with process(settings, pool, name="gateway") as one:
        assert one.session.holder is Holder.LOG
        assert await pool.fetchval("SELECT name FROM log_sessions") == "gateway"
    assert await pool.fetchval("SELECT count(*) FROM log_sessions") == 0


async def test_the_record_takes_over_when_nobody_reaches_the_log(settings: Settings, pool: Pool) -> None:
    async with process(settings, pool) as one, process(settings, pool) as two:
        for each in (one, two):
            each.link.refuse()
        for each in (one, two):
            await each.sees(Holder.RECORD)
        assert (await term(pool)).holder is Holder.RECORD
        with pytest.raises(LogUnavailable), one.session.on_log():
            pass


async def test_one_that_reaches_the_log_keeps_it_for_all(settings: Settings, pool: Pool) -> None:
    """A process that has lost its own way to Redis must not begin to write elsewhere."""
    async with process(settings, pool) as cut_off, process(settings, pool) as well:
        before = (await term(pool)).number
        cut_off.link.refuse()
        await wait_until(lambda: _moved(pool, before + 2), message="a proposal and an objection")
        assert well.session.holder is Holder.LOG
        assert cut_off.session.holder is not Holder.RECORD
        with well.session.on_log():
            pass


async def _moved(pool: Pool, to: int) -> bool:
    return (await term(pool)).number >= to


async def test_what_is_under_way_on_the_log_ends_before_the_record_takes_over(
    settings: Settings, pool: Pool
) -> None:
    """Its answer may still go out: then it was given while the log had the say."""
    async with process(settings, pool) as one, process(settings, pool) as two:
        with one.session.on_log():
            for each in (one, two):
                each.link.refuse()
            await two.sees(Holder.LEAVING)
            await one.sees(Holder.LEAVING)
            for _ in range(3):
                await two.session.look()
            assert (await term(pool)).holder is Holder.LEAVING
        await two.sees(Holder.RECORD)


async def test_a_process_that_was_killed_keeps_the_say_with_the_log(settings: Settings, pool: Pool) -> None:
    """What it had acknowledged may be on the log only, and it can no longer say what that is."""
    await pool.execute(
        "INSERT INTO log_sessions (id, name, uses) VALUES (gen_random_uuid(), 'a dead gateway', 'log')"
    )
    async with process(settings, pool) as one:
        one.link.refuse()
        await one.sees(Holder.LEAVING)
        for _ in range(3):
            await one.session.look()
        assert (await term(pool)).holder is Holder.LEAVING
        one.link.heal()
        await one.sees(Holder.LOG)


async def test_the_log_gets_the_say_back_with_empty_caches(settings: Settings, pool: Pool) -> None:
    async with process(settings, pool) as one:
        one.link.refuse()
        await one.sees(Holder.RECORD)
        assert not one.drops
        one.link.heal()
        await one.sees(Holder.LOG)
        assert one.drops
        assert await pool.fetchval("SELECT count(*) FROM log_sessions") == 1


async def test_an_event_that_is_on_the_log_only_is_waited_for(settings: Settings, pool: Pool) -> None:
    """Its conversation is not read or changed in the record; any other is."""
    async with process(settings, pool) as one, redis_parts(settings.redis.dsn) as redis:
        waiting, settled = await _create(one), await _create(one)
        await redis.persist_all()
        await wait_until(lambda: not one.unsettled.addresses(), message="both are settled")
        await one.log.append(ALICE, waiting, [message()], at_ms=NOW)
        one.link.refuse()
        await one.sees(Holder.RECORD)
        async with pool.acquire() as connection, connection.transaction():
            for guard in (guard_read, guard_change):
                await guard(connection, ALICE, settled)
                with pytest.raises(AwaitsLog):
                    await guard(connection, ALICE, waiting)
                with pytest.raises(AwaitsLog):
                    await guard(connection, ALICE, None)


async def test_a_change_whose_reply_was_lost_is_waited_for(settings: Settings, pool: Pool) -> None:
    """Nobody knows whether the log has it."""
    async with process(settings, pool) as one, redis_parts(settings.redis.dsn) as redis:
        conversation = await _create(one)
        await redis.persist_all()
        await wait_until(lambda: not one.unsettled.addresses(), message="it is settled")
        one.link.hold(Direction.REPLIES)
        with pytest.raises(LogUnavailable):
            await one.log.append(ALICE, conversation, [message()], at_ms=NOW)
        one.link.refuse()
        await one.sees(Holder.RECORD)
        async with pool.acquire() as connection:
            with pytest.raises(AwaitsLog):
                await guard_read(connection, ALICE, conversation)


async def test_what_the_record_has_after_all_is_not_waited_for(settings: Settings, pool: Pool) -> None:
    """A persister had read it before the log went away, and commits it after."""
    async with process(settings, pool) as one:
        conversation = await _create(one)
        one.link.refuse()
        await one.sees(Holder.RECORD)
        assert await pool.fetchval("SELECT count(*) FROM unsettled") == 1
        await pool.execute("INSERT INTO users (user_id) VALUES ($1)", ALICE)
        await pool.execute(
            "INSERT INTO conversations (user_id, id, metadata, created_at, created_at_text, last_modified_ms,"
            " next_sequence_number, version, state_version, epoch)"
            " VALUES ($1, $2, '{}', now(), '', 0, 0, 1, 1, 1)",
            ALICE,
            conversation,
        )
        await wait_until(lambda: _none_unsettled(pool), message="it is seen to be settled")


async def test_a_conversation_whose_creation_is_on_its_way_is_waited_for(
    settings: Settings, pool: Pool
) -> None:
    """Another persister had read it, and is slower than the one that brought the message. Who changed the
    title now would lose what else it was created with."""
    async with process(settings, pool) as one, redis_parts(settings.redis.dsn) as redis:
        conversation = new_conversation_id()
        new = Creation(FRESH, STATE)
        await one.log.append(ALICE, conversation, [message()], at_ms=NOW, create=new)
        one.link.refuse()
        await one.sees(Holder.RECORD)
        created, appended = [
            Recorded(0, Position(f"{i}-1"), decode(fields)) for i, fields in enumerate(await redis.events())
        ]
        await BatchWriter(pool).write([appended])
        for _ in range(3):
            await one.session.look()
        assert not await _none_unsettled(pool)
        await BatchWriter(pool).write([created])
        await wait_until(lambda: _none_unsettled(pool), message="it is seen to be settled")


async def test_what_was_settled_since_a_hand_over_that_came_to_nothing_is_not_waited_for(
    settings: Settings, pool: Pool
) -> None:
    """The log kept the say then, and the record followed."""
    async with process(settings, pool) as one, redis_parts(settings.redis.dsn) as redis:
        await _create(one)
        conversation = one.unsettled.addresses()[0]
        await AuthorityStore(pool).move(await term(pool), Holder.LEAVING)
        await AuthorityStore(pool).hand_over(one.session.id, await term(pool), [conversation])
        await one.sees(Holder.LOG)
        await redis.persist_all()
        await wait_until(lambda: not one.unsettled.addresses(), message="it is settled")
        one.link.refuse()
        await one.sees(Holder.RECORD)
        assert await _none_unsettled(pool)


async def _none_unsettled(pool: Pool) -> bool:
    return await pool.fetchval("SELECT count(*) FROM unsettled") == 0


async def test_a_change_in_the_record_ends_before_the_log_has_the_say(settings: Settings, pool: Pool) -> None:
    """PostgreSQL fences it: the say cannot move while the transaction holds it."""
    async with process(settings, pool) as one:
        one.link.refuse()
        await one.sees(Holder.RECORD)
        async with pool.acquire() as connection:
            async with connection.transaction():
                await guard_change(connection, ALICE, None)
                one.link.heal()
                await wait_until(lambda: _somebody_waits_for_a_lock(pool), message="the move waits")
                assert one.session.holder is Holder.RECORD
            await one.sees(Holder.LOG)
            async with connection.transaction():
                with pytest.raises(AuthorityMoved):
                    await guard_change(connection, ALICE, None)


async def test_changes_that_overlap_for_ever_do_not_keep_the_say_from_moving(
    settings: Settings, pool: Pool
) -> None:
    """Whoever begins a change after the say is to move stands behind that; else there is always one more."""
    store = AuthorityStore(pool)
    assert await store.move(Term(Holder.LOG, 1), Holder.RECORD)
    async with pool.acquire() as first, pool.acquire() as second:
        change = first.transaction()
        await change.start()
        await guard_change(first, ALICE, None)
        moving = asyncio.create_task(store.move(Term(Holder.RECORD, 2), Holder.RETURNING))
        await wait_until(lambda: _waiting_for_a_lock(pool, 1), message="the move waits for the change")
        async with second.transaction():
            later = asyncio.create_task(guard_change(second, ALICE, None))
            await wait_until(lambda: _waiting_for_a_lock(pool, 2), message="a later change waits, too")
            await change.commit()
            assert await moving
            with pytest.raises(AuthorityMoved):
                await later


async def _somebody_waits_for_a_lock(pool: Pool) -> bool:
    return await _waiting_for_a_lock(pool, 1)


async def _waiting_for_a_lock(pool: Pool, how_many: int) -> bool:
    return await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") >= how_many


async def test_a_log_that_is_out_of_reach_is_not_asked_again(settings: Settings, pool: Pool) -> None:
    """A frozen Redis takes the time-out of a reply, not that of a new connection after it as well: what is
    under way there ends first, and only then the record takes over."""
    patient = replace(QUICK, outage=0.3)
    async with process(settings, pool, timing=patient) as one:
        assert one.log.worth_repeating
        one.log.away = lambda: one.session.log_is_away
        one.link.swallow(Direction.REPLIES)
        await wait_until(lambda: not one.log.worth_repeating)
        one.link.heal()
        await wait_until(lambda: one.log.worth_repeating)


async def test_a_process_that_was_forgotten_finds_out_before_it_answers(
    settings: Settings, pool: Pool
) -> None:
    """It was stopped for so long that the others went on without it."""
    never = replace(QUICK, fresh=0.0, look=3600.0)
    async with process(settings, pool, timing=never) as stopped:
        with stopped.session.on_log() as session:
            await stopped.session.confirm(session)
            await pool.execute("DELETE FROM log_sessions")
            with pytest.raises(LogUnavailable) as refused:
                await stopped.session.confirm(session)
        assert refused.value.outcome_unknown
        with stopped.session.on_log() as session:
            await stopped.session.confirm(session)


async def test_having_registered_anew_it_does_not_confirm_what_it_had_begun(
    settings: Settings, pool: Pool
) -> None:
    """It looked before the answer came to be confirmed: what it sees is fresh, but the record may have had
    the say in between."""
    async with process(settings, pool, timing=replace(QUICK, look=3600.0)) as stopped:
        with stopped.session.on_log() as session:
            await pool.execute("DELETE FROM log_sessions")
            await stopped.session.look()
            assert stopped.session.holder is Holder.LOG
            with pytest.raises(LogUnavailable):
                await stopped.session.confirm(session)


async def test_a_process_that_was_stopped_while_the_record_was_away_finds_out_too(
    settings: Settings, pool: Pool
) -> None:
    """PostgreSQL may be back since its last look."""
    never = replace(QUICK, fresh=0.0, look=3600.0)
    async with process(settings, pool, timing=never) as stopped:
        with stopped.session.on_log() as session:
            await pool.execute("ALTER TABLE log_sessions RENAME TO away")
            await stopped.session.look()
            await stopped.session.confirm(session)
            await pool.execute("ALTER TABLE away RENAME TO log_sessions")
            await pool.execute("DELETE FROM log_sessions")
            with pytest.raises(LogUnavailable):
                await stopped.session.confirm(session)


async def test_the_dead_are_forgotten_once_the_record_has_followed(settings: Settings, pool: Pool) -> None:
    """From then on the record can take over without them."""
    async with process(settings, pool) as one, redis_parts(settings.redis.dsn) as redis:
        await pool.execute(
            "INSERT INTO log_sessions (id, name, uses, seen_at)"
            " VALUES (gen_random_uuid(), 'a dead gateway', 'log', now() - interval '1 hour')"
        )
        await _create(one)
        for _ in range(3):
            await one.leftovers.tidy()
        assert await pool.fetchval("SELECT count(*) FROM log_sessions") == 2
        await redis.persist_all()
        await one.leftovers.tidy()
        assert await pool.fetchval("SELECT count(*) FROM log_sessions") == 1


async def test_a_process_that_ends_says_what_it_leaves_on_the_log(settings: Settings, pool: Pool) -> None:
    async with process(settings, pool) as one:
        conversation = await _create(one)
    assert str(await pool.fetchval("SELECT conversation_id FROM unsettled")) == conversation
    assert await pool.fetchval("SELECT count(*) FROM log_sessions") == 0


async def test_without_the_record_the_log_goes_on(settings: Settings) -> None:
    """Nobody can take the say away from it then."""
    nowhere = settings.postgres.model_copy(update={"url": None, "host": "127.0.0.1", "port": 1})
    async with (
        open_pool(nowhere, application_name="test") as pool,
        process(settings, pool) as one,
    ):
        with one.session.on_log():
            await _create(one)
            await one.session.confirm(one.session.id)


async def _create(one: Process) -> ConversationId:
    conversation = new_conversation_id()
    await one.log.create(ALICE, conversation, Creation(FRESH, STATE), at_ms=NOW)
    return conversation

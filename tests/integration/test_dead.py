"""`turnlog dead` on real servers: parked events can be looked at, put back without a trace, or dropped."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from common.domain.errors import ConversationNotFound
from common.domain.ids import ConversationId
from common.redis.breaker import BreakerBoard
from common.redis.dead import DeadLetter, DeadLetters
from common.settings import Settings
from tests.e2e.commands import run
from tests.persisters import dead_letters, running_persister, wait_settled
from tests.poison import contents, impatient, mend, publish, refuse_poison
from tests.record import rows_of
from tests.redis_parts import ALICE, NOW
from tests.stage import Stage, stage
from tests.waiting import wait_until
from tools.dead.selection import Selection


@pytest.fixture
async def scene(settings: Settings) -> AsyncGenerator[Stage]:
    async with stage(impatient(settings)) as made:
        yield made


async def command(scene: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the scene's servers."""
    own = {"REDIS_URL": scene.settings.redis.dsn, "DATABASE_URL": scene.settings.postgres.dsn}
    return await asyncio.to_thread(run, *arguments, "--data-dir", "/nonexistent", environment=own)


async def persist(scene: Stage) -> None:
    """A persister's life: until nothing waits any more."""
    async with running_persister(scene.settings):
        await wait_settled(scene.redis)


async def letters(scene: Stage) -> list[DeadLetter]:
    found = DeadLetters(scene.redis.functions, scene.redis.keys)
    return [letter async for letter in Selection().of(found)]


async def parked(scene: Stage) -> ConversationId:
    """A conversation `a`, `poison`, `b`, of which the second is parked."""
    await refuse_poison(scene.pool)
    conversation = await scene.conversation()
    for text in ("a", "poison", "b"):
        await scene.append(conversation, text)
    await persist(scene)
    assert await contents(scene.pool, conversation) == ["a", "b"]
    return conversation


async def test_a_list_says_which_and_why_and_nothing_that_a_user_wrote(scene: Stage) -> None:
    """`show` does: it is for one letter, and asked for."""
    conversation = await parked(scene)
    listed = await command(scene, "dead", "list")
    assert listed.returncode == 0, listed.stderr
    assert str(conversation) in listed.stdout
    assert "InvalidParameterValueError 22023" in listed.stdout
    assert "poison" not in listed.stdout
    assert "a word of a user" not in listed.stdout

    [line] = (await command(scene, "dead", "list", "--json", "--user", ALICE)).stdout.splitlines()
    assert "poison" not in line
    shown = await command(scene, "dead", "show", json.loads(line)["letter"])
    letter = json.loads(shown.stdout)
    assert letter["event"]["bodies"][0]["content"] == "poison"
    assert letter["error_text"] == "InvalidParameterValueError: a word of a user"
    assert dict(letter["fields"])["first"] == "1"


async def test_filters_choose(scene: Stage) -> None:
    """User, conversation, a part of the error, partition, number; all that are given must fit."""
    await publish(scene.redis, 20, range(5))
    await persist(scene)
    found = DeadLetters(scene.redis.functions, scene.redis.keys)

    async def chosen(**given: object) -> int:
        return len([letter async for letter in Selection(**given).of(found)])  # pyright: ignore[reportArgumentType]

    home = scene.redis.keys.partition(ALICE)
    assert await chosen() == 5
    assert await chosen(user=ALICE) == 4
    assert await chosen(error="unsupportedversion") == 1
    assert await chosen(error="22021") == 1
    assert await chosen(error="22021", user="somebody else") == 0
    assert (await chosen(partition=home), await chosen(partition=(home + 1) % 8)) == (5, 0)
    assert await chosen(limit=3) == 3


async def test_what_is_requeued_is_read_at_once_and_stored_once(scene: Stage) -> None:
    """It has its old number; count, list and caches are right before the commit and after it."""
    conversation = await parked(scene)
    assert await scene.numbers(conversation) == [0, 2]
    assert (await scene.parts.history.header(ALICE, conversation)).message_count == 2
    await mend(scene.pool)
    requeued = await command(scene, "dead", "requeue", "--all", "--no-wait")
    assert (requeued.returncode, requeued.stdout) == (0, "1 back on the log\n"), requeued.stderr
    assert await dead_letters(scene.redis) == []

    for _ in range(2):
        assert await scene.numbers(conversation) == [0, 1, 2]
        header = await scene.parts.history.header(ALICE, conversation)
        assert (header.message_count, header.next_sequence_number) == (3, 3)
        [row] = (await scene.parts.listing.after_cursor(ALICE, limit=10)).items
        assert json.loads(row)["message_count"] == 3
        await persist(scene)
    assert await contents(scene.pool, conversation) == ["a", "poison", "b"]
    again = await command(scene, "dead", "requeue", "--all")
    assert (again.returncode, again.stdout) == (0, "0 back on the log\n")


async def test_numbers_of_a_parked_message_are_never_given_again(scene: Stage) -> None:
    """Not even when Redis has let go of the header: it stays a gap, until the letter is requeued."""
    await refuse_poison(scene.pool)
    conversation = await scene.conversation(messages=1)
    await scene.append(conversation, "poison")
    await persist(scene)
    keys = scene.redis.keys.conversation(ALICE, conversation)
    assert await scene.redis.client.call("EXISTS", keys.header) == 0
    await scene.append(conversation, "after")
    assert await scene.numbers(conversation) == [0, 2]
    await mend(scene.pool)
    async with running_persister(scene.settings):
        requeued = await command(scene, "dead", "requeue", "--all")
    assert requeued.returncode == 0, requeued.stderr
    assert await contents(scene.pool, conversation) == ["0", "poison", "after"]
    header = await scene.parts.history.header(ALICE, conversation)
    assert (header.message_count, header.preview) == (3, "after")


async def test_what_is_still_poison_is_parked_again_and_said_so(scene: Stage) -> None:
    """With status 1; the letter is there once, as it was."""
    await parked(scene)
    before = (await letters(scene))[0]
    async with running_persister(scene.settings):
        requeued = await command(scene, "dead", "requeue", before.name)
    assert requeued.returncode == 1
    assert "1 of them were parked again" in requeued.stderr
    [after] = await letters(scene)
    assert after.words == before.words


async def test_a_deleted_conversation_stays_deleted(scene: Stage) -> None:
    """An event of it that is put back has no effect."""
    conversation = await parked(scene)
    await mend(scene.pool)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    await persist(scene)
    before = await rows_of(scene.pool, ALICE)
    async with running_persister(scene.settings):
        requeued = await command(scene, "dead", "requeue", "--all")
    assert requeued.returncode == 0, requeued.stderr
    rows = await rows_of(scene.pool, ALICE)
    assert (rows["messages"], len(rows["conversations"])) == ([], len(before["conversations"]))
    with pytest.raises(ConversationNotFound):
        await scene.parts.history.header(ALICE, conversation)


async def test_a_deletion_that_is_parked_stays_a_deletion(scene: Stage) -> None:
    """Its tombstone in Redis does not expire before PostgreSQL has it."""
    await refuse_poison(scene.pool)
    conversation = await scene.conversation(messages=2)
    await scene.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    await persist(scene)
    assert len(await dead_letters(scene.redis)) == 1
    await scene.drop_caches()
    with pytest.raises(ConversationNotFound):
        await scene.parts.history.header(ALICE, conversation)
    await mend(scene.pool)
    async with running_persister(scene.settings):
        assert (await command(scene, "dead", "requeue", "--all")).returncode == 0
    keys = scene.redis.keys.conversation(ALICE, conversation)
    assert await scene.redis.client.call("PTTL", keys.header) > 0
    assert await contents(scene.pool, conversation) == []


async def test_dropping_asks_and_says_what_is_lost(scene: Stage) -> None:
    """Where nobody can be asked, --yes is demanded; the number stays a gap."""
    conversation = await parked(scene)
    asked = await command(scene, "dead", "drop", "--all")
    assert asked.returncode == 1
    assert "1 events would be lost for ever (1 messages.appended)" in asked.stderr
    assert len(await dead_letters(scene.redis)) == 1
    dropped = await command(scene, "dead", "drop", "--all", "--yes")
    assert (dropped.returncode, dropped.stdout) == (0, "1 dropped\n")
    assert await dead_letters(scene.redis) == []
    await scene.append(conversation, "later")
    assert await scene.numbers(conversation) == [0, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["requeue"], "say --all"),
        (["drop", "--all", "--user", "x"], "not both"),
        (["show", "7/1-1"], "there is no dead letter 7/1-1"),
        (["show", "nonsense"], "names no dead letter"),
    ],
)
async def test_what_is_wrong_is_one_line(scene: Stage, arguments: list[str], says: str) -> None:
    """Nothing is touched by a command that does not say what it is about."""
    result = await command(scene, "dead", *arguments)
    assert result.returncode == 1
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


async def test_park_lets_an_open_breaker_park(scene: Stage) -> None:
    """What it held back is among the dead letters soon after."""
    await publish(scene.redis, 40, range(40))
    board = BreakerBoard(scene.redis.client, scene.redis.keys)
    async with running_persister(scene.settings):

        async def is_open() -> bool:
            return await board.read() is not None

        await wait_until(is_open)
        parking = await command(scene, "dead", "park")
        assert parking.returncode == 0, parking.stderr
        assert "parked at its next try" in parking.stdout
        await wait_settled(scene.redis)
    assert len(await dead_letters(scene.redis)) == 40


async def test_a_field_that_is_called_like_ours_stays_the_events(scene: Stage, tmp_path: Path) -> None:
    """And one that is there twice stays twice, from the log to the letter and back."""
    stream = scene.redis.keys.events(3)
    words = ["dead_position", "x", "twice", "1", "twice", "2", "bytes", b"\xff\x00"]
    await scene.redis.client.call("XADD", stream, "*", *words)
    async with running_persister(scene.settings):

        async def is_parked() -> bool:
            return len(await letters(scene)) == 1

        await wait_until(is_parked)
    [letter] = await letters(scene)
    expected = [word if isinstance(word, bytes) else word.encode() for word in words]
    assert letter.words == expected
    await DeadLetters(scene.redis.functions, scene.redis.keys).requeue(letter)
    [(_, found)] = await scene.redis.client.call("XREVRANGE", stream, "+", "-", "COUNT", 1)
    assert found == expected

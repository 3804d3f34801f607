"""What the nemesis writes down when it cuts a log back under load: what only the log had, to the message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.domain.ids import UserId
from common.settings import Settings
from tests.chaos.aof import Entry, events_added
from tests.chaos.losses import not_stored
from tests.chaos.recovery import PROBE_USER
from tests.chaos.tags import make_tag, text_of
from tests.persisters import running_persister
from tests.redis_parts import ALICE, NOW
from tests.rolled_back import OwnRedis, Process, own_redis, process, using


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    with own_redis() as redis:
        yield redis


@pytest.fixture
def own(settings: Settings, redis: OwnRedis) -> Settings:
    return using(settings, redis)


def _added_since(redis: OwnRedis, size: int) -> list[Entry]:
    return events_added(redis.text()[size:])


async def test_what_postgresql_has_is_not_lost(own: Settings, redis: OwnRedis) -> None:
    """All that came since is in the file's end; of that, what is not committed is the loss."""
    tags = [make_tag(ALICE, "c.1", i) for i in range(3)]
    async with process(own) as one:
        size = redis.size()
        first = await one.conversation(text_of(tags[0]))
        async with running_persister(own):
            await one.settled()
        await one.append(first, text_of(tags[1]))
        await one.conversation(user=UserId(PROBE_USER))
        other = await one.conversation(text_of(tags[2]))
        await one.parts.publisher.update(ALICE, first, title=text_of(make_tag(ALICE, "c.2", "t")), at_ms=NOW)
        await one.parts.publisher.delete(ALICE, other, at_ms=NOW)

        count, lost = await not_stored(own.postgres.dsn, _added_since(redis, size))

        def of(kind: str, conversation: str, **more: object) -> tuple[object, ...]:
            defaults = {"tags": (), "first": 0, "title": None, "absent": conversation == other}
            return kind, conversation, *(defaults | more).values()

        assert count == 7
        assert [(e.type, e.conversation, e.tags, e.first, e.title, e.absent) for e in lost] == [
            of("messages.appended", first, tags=(tags[1],), first=1),
            of("conversation.created", other, title=lost[1].title),
            of("messages.appended", other, tags=(tags[2],)),
            of("conversation.updated", first, title=make_tag(ALICE, "c.2", "t")),
            of("conversation.deleted", other),
        ]
        await _commit_all(own, one)
        assert await not_stored(own.postgres.dsn, _added_since(redis, size)) == (7, ())


async def _commit_all(own: Settings, one: Process) -> None:
    async with running_persister(own):
        await one.settled()


def test_a_command_that_is_torn_is_no_event() -> None:
    """The writer died in the middle of it, and whoever sent it was told nothing; other streams are none."""
    words = [b"XADD", b"chat:{1}:events", b"5-1", b"type", b"x"]
    command = b"*5\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    misses = command.replace(b"$15\r\nchat:{1}:events", b"$15\r\nchat:{1}:misses")
    whole = Entry("chat:{1}:events", "5-1", {b"type": b"x"})
    for length in range(len(command)):
        assert events_added(misses + command + command[:length]) == [whole]

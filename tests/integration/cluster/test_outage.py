"""One primary away: its users are told to come again, the others notice nothing, nobody loses anything."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic_core import from_json
from structlog.testing import capture_logs

from common.assembly import keys_for
from common.domain.errors import Busy
from common.domain.ids import ConversationId, UserId
from common.domain.messages import numbered
from common.redis.runs import count_rollbacks
from common.settings import Settings
from tests.cluster import Cluster, Node
from tests.persisters import QUICK, running_persister
from tests.redis_parts import NOW, STATE, message
from tests.rolled_back import Process, process
from tests.waiting import wait_until


def user_of(settings: Settings, partition: int) -> UserId:
    """Somebody whose conversations are in this partition."""
    keys = keys_for(settings)
    return next(u for i in range(1000) if keys.partition(u := UserId(f"user-{i}")) == partition)


@dataclass
class Writer:
    """Appends to one conversation through one process, each message until it is answered."""

    user: UserId
    conversation: ConversationId
    home: Node
    acknowledged: dict[int, str] = field(default_factory=dict[int, str])
    refused: int = 0

    async def run(self, one: Process, stop: asyncio.Event) -> None:
        for i in range(100_000):
            text = f"m{i}"
            while True:
                try:
                    appended = await one.parts.publisher.append(
                        self.user, self.conversation, [message(text, id=text)], at_ms=NOW
                    )
                    break
                except Busy:
                    self.refused += 1
                    await asyncio.sleep(0.05)
            self.acknowledged[numbered(appended.messages[0]).sequence_number] = text
            if stop.is_set():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def writing(settings: Settings, cluster: Cluster, one: Process) -> AsyncGenerator[list[Writer]]:
    """A writer for each partition, until the block ends."""
    keys, stop = keys_for(settings), asyncio.Event()
    writers: list[Writer] = []
    for partition in range(keys.partitions):
        user = user_of(settings, partition)
        header, _ = await one.parts.publisher.create(user, STATE, at_ms=NOW)
        writers.append(Writer(user, header.id, cluster.owner(keys.log(partition))))
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.run(one, stop))
        try:
            yield writers
        finally:
            stop.set()


async def test_a_primary_that_is_killed_under_appends_stops_its_users_only(
    clustered: Settings, whole: Cluster
) -> None:
    """The others' appends, reads and rows go on; after its restart every answered message is there, once."""
    settings = clustered.model_copy(update={"persister": QUICK})
    away = whole.nodes[1]
    async with process(settings) as one, process(settings) as other, running_persister(settings):
        async with writing(settings, whole, one) as writers:
            theirs = [w for w in writers if w.home is away]
            others = [w for w in writers if w.home is not away]
            assert (len(theirs), len(others)) == (4, 4)
            await _grow(writers, 5)
            away.kill()
            await wait_until(lambda: all(w.refused for w in theirs), message="503 for its users")
            refused = [w.refused for w in others]
            await _grow(others, 10)
            # Not only the log: PostgreSQL gets what they append, and they read it.
            for writer in others:
                target = max(writer.acknowledged)
                await wait_until(lambda w=writer, t=target: _is_stored(one, w, t), timeout_seconds=30)
                seen = await other.parts.history.recent(writer.user, writer.conversation, 1)
                assert numbered(seen[0]).sequence_number >= target
            assert [w.refused for w in others] == refused
            await asyncio.to_thread(away.start)
            await _grow(theirs, 5)
        await one.settled()
        for writer in writers:
            await _kept(one, writer)


async def test_a_node_that_lost_its_data_is_made_good_and_the_others_are_left_alone(
    clustered: Settings, whole: Cluster
) -> None:
    """Each run of each node is inspected before it is used (ADR 0090)."""
    settings = clustered.model_copy(update={"persister": QUICK})
    lost = whole.nodes[2]
    async with process(settings) as one:
        async with running_persister(settings):
            async with writing(settings, whole, one) as writers:
                await _grow(writers, 5)
            await one.settled()
        with capture_logs() as logs:
            lost.lose_data()
            lost.start()
            await whole.settle()
            async with process(settings) as new:
                for writer in writers:
                    await _appended(new, writer)
        rolled_back = {line["partition"] for line in logs if line["event"] == "redis_rolled_back"}
        keys = keys_for(settings)
        assert rolled_back == {p for p in range(8) if whole.owner(keys.log(p)) is lost}
        assert await count_rollbacks(one.client, keys) == len(rolled_back)


async def _grow(writers: list[Writer], by: int) -> None:
    """Wait until each has had so many more answers."""
    goals = [(writer, len(writer.acknowledged) + by) for writer in writers]
    await wait_until(
        lambda: all(len(writer.acknowledged) >= goal for writer, goal in goals),
        timeout_seconds=40,
        message=lambda: str([(w.user, len(w.acknowledged), w.refused) for w in writers]),
    )


async def _appended(one: Process, writer: Writer) -> None:
    """The next message has the next number, and a reader sees it behind the others."""
    while True:
        try:
            appended = await one.parts.publisher.append(
                writer.user, writer.conversation, [message("after")], at_ms=NOW
            )
            break
        except Busy:
            await asyncio.sleep(0.05)
    number = max(writer.acknowledged) + 1
    assert numbered(appended.messages[0]).sequence_number == number
    seen = await one.parts.history.recent(writer.user, writer.conversation, 2)
    assert [numbered(m).sequence_number for m in seen] == [number - 1, number]


async def _is_stored(one: Process, writer: Writer, number: int) -> bool:
    return number in await one.stored(writer.conversation)


async def _kept(one: Process, writer: Writer) -> None:
    """All that was answered is in the record, at the number that was answered, and nothing twice."""
    query = "SELECT sequence_number, payload FROM messages WHERE conversation_id = $1 ORDER BY 1"
    rows = [
        (row[0], from_json(row[1])["content"]) for row in await one.pool.fetch(query, writer.conversation)
    ]
    by_text: dict[str, list[int]] = defaultdict(list)
    for number, text in rows:
        by_text[text].append(number)
    assert dict(rows) == writer.acknowledged
    assert all(len(numbers) == 1 for numbers in by_text.values())
    assert [number for number, _ in rows] == list(range(len(rows)))

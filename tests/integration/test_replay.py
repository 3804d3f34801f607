"""Replays on real servers: nothing changes where all is there, all comes where nothing was."""

from __future__ import annotations

import io
import json
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from common.contract.stream import encode
from common.domain.events import EVENT
from common.domain.ids import Position
from common.postgres import retelling
from common.postgres.changes import Recorded
from common.postgres.migrations import migrate
from common.postgres.pool import Pool
from common.postgres.writer import BatchWriter
from common.redis.client import RedisClient
from common.settings import Settings
from tests.cluster import ON_A_CLUSTER
from tests.persisting import persist
from tests.record import NOW, History, pool_of
from tests.replays import (
    ALICE,
    BOB,
    Events,
    all_rows,
    put_on_log,
    put_poison,
    replayed,
    rich_history,
    some_conversation,
)
from tests.stage import Stage, stage
from tools.errors import CommandError
from tools.replay import from_log
from tools.replay.checkpoint import Checkpoint
from tools.replay.from_log import LogSource
from tools.replay.from_record import RecordSource
from tools.replay.page import Item, Outcome
from tools.replay.selection import Selection
from tools.replay.tally import Tally
from tools.replay.targets import CachesTarget, NowhereTarget, OutputTarget, RecordTarget
from tools.replay.to_stream import StreamTarget

EVERYTHING = Selection()


@dataclass(frozen=True)
class Scene:
    """An instance with a history that is on the log and in the record, and another, empty database."""

    stage: Stage
    events: Events
    placed: list[Recorded]
    other: Pool

    @property
    def pool(self) -> Pool:
        return self.stage.pool

    def log(self, **selection: Any) -> LogSource:
        """What is selected of the log."""
        return LogSource(self.stage.redis.client, self.stage.redis.keys, Selection(**selection))

    def record(self, **selection: Any) -> RecordSource:
        """What is selected of the record."""
        return RecordSource(self.pool, self.stage.redis.keys, Selection(**selection))

    def into(self, pool: Pool) -> RecordTarget:
        """A database as the target."""
        return RecordTarget(BatchWriter(pool), positions=pool is self.pool)


@pytest.fixture
async def scene(settings: Settings, empty_postgres_dsn: str) -> AsyncGenerator[Scene]:
    await migrate(empty_postgres_dsn)
    there = settings.postgres.model_copy(update={"url": SecretStr(empty_postgres_dsn)})
    async with (
        stage(settings) as made,
        pool_of(settings.model_copy(update={"postgres": there})) as other,
    ):
        events = rich_history()
        placed = await put_on_log(made.redis.client, made.redis.keys, events)
        for start in range(0, len(placed), 50):
            await BatchWriter(made.pool).write(placed[start : start + 50])
        yield Scene(made, events, placed, other)


async def test_the_whole_log_over_a_full_database_changes_nothing(scene: Scene) -> None:
    """Not a byte of a row, nor a position; what was deleted or truncated stays away."""
    before = (
        await all_rows(scene.pool),
        await scene.pool.fetch("SELECT * FROM committed_positions ORDER BY 1"),
    )
    tally, said = await replayed(scene.log(), scene.into(scene.pool))
    assert (tally.read, tally.refused, said) == (len(scene.events), 0, [])
    assert (
        await all_rows(scene.pool),
        await scene.pool.fetch("SELECT * FROM committed_positions ORDER BY 1"),
    ) == before


@pytest.mark.parametrize("source", ["log", "record"])
async def test_an_empty_database_gets_the_same_rows(scene: Scene, source: str) -> None:
    """Every table and column; twice is once. And no position, which would be another log's."""
    origin = scene.log() if source == "log" else scene.record()
    expected = await all_rows(scene.pool)
    for _ in range(2):
        tally, _said = await replayed(origin, scene.into(scene.other))
        assert tally.refused == 0
        assert await all_rows(scene.other) == expected
    assert await scene.other.fetch("SELECT * FROM committed_positions") == []


async def test_old_events_bring_nothing_back(scene: Scene) -> None:
    """Only the appends of conversations that were deleted or truncated since, without what removed them."""
    before = await all_rows(scene.pool)
    for item in scene.placed:
        if item.event.type == "messages.appended":
            chosen = scene.log(partition=item.partition, first=item.position, last=item.position)
            tally, _ = await replayed(chosen, scene.into(scene.pool))
            assert tally.applied == 1
    assert await all_rows(scene.pool) == before


async def test_what_is_selected_is_replayed_and_nothing_else(scene: Scene) -> None:
    """By user, conversation, partition, position and time; all of these together."""
    keys = scene.stage.redis.keys

    async def count(**selection: Any) -> int:
        tally, _ = await replayed(scene.log(**selection), NowhereTarget())
        return tally.read - tally.skipped

    def having(user: str) -> int:
        return sum(event.user_id == user for event in scene.events)

    about = some_conversation(scene.events, BOB)
    of_it = sum(event.conversation_id == about for event in scene.events)
    assert await count(user=BOB) == having(BOB)
    assert await count(conversation=about) == of_it
    assert await count(user=ALICE, conversation=about) == 0
    home = keys.partition(BOB)
    assert await count(partition=home) == sum(i.partition == home for i in scene.placed)
    assert await count(first=Position(f"{NOW + 10}-0"), last=Position(f"{NOW + 19}")) == 10
    assert await count(since_ms=NOW + 10, until_ms=NOW + 19) == 10
    assert await count(since_ms=NOW + 10, last=Position(f"{NOW + 19}-0"), user=ALICE) == 10
    with pytest.raises(CommandError, match="leave --partition away"):
        scene.log(user=BOB, partition=(home + 1) % keys.partitions)


async def test_the_record_is_selected_by_the_last_change(scene: Scene) -> None:
    """A conversation is there whole or not at all."""
    about = some_conversation(scene.events, BOB)
    await replayed(scene.record(user=BOB, conversation=about), scene.into(scene.other))
    expected = await all_rows(scene.pool)
    for table in ("conversations", "messages"):
        name = "id" if table == "conversations" else "conversation_id"
        wanted = [row for row in expected[table] if str(row[name]) == about]
        assert (await all_rows(scene.other))[table] == wanted
    tally, _ = await replayed(scene.record(since_ms=NOW + 1000), NowhereTarget())
    assert tally.read == 0


async def test_a_poison_event_is_reported_and_skipped(scene: Scene) -> None:
    """With its position; the others of its batch are there."""
    keys, client = scene.stage.redis.keys, scene.stage.redis.client
    await put_poison(client, keys, ALICE, f"{NOW + 5000}-0")
    taken = History(ALICE, some_conversation(scene.events, ALICE)).appended("of another")
    await client.call(
        *("XADD", keys.events(keys.partition(ALICE)), f"{NOW + 5001}-0"),
        *(part for pair in _fields(taken) for part in pair),
    )
    tally, said = await replayed(scene.log(), scene.into(scene.other))
    assert tally.refused == 2
    assert [f"{NOW + 5000}-0" in said[0], f"{NOW + 5001}-0" in said[1]] == [True, True]
    assert await all_rows(scene.other) == await all_rows(scene.pool)
    with pytest.raises(CommandError, match=f"stopped at .*{NOW + 5000}-0"):
        await replayed(scene.log(), scene.into(scene.other), stop_on_error=True)


async def test_an_event_in_another_users_partition_is_poison(scene: Scene) -> None:
    """As it is for the persister."""
    keys, client = scene.stage.redis.keys, scene.stage.redis.client
    elsewhere = (keys.partition(ALICE) + 1) % keys.partitions
    flat = [part for pair in _fields(History(ALICE).created()) for part in pair]
    await client.call("XADD", keys.events(elsewhere), f"{NOW + 9000}-0", *flat)
    tally, said = await replayed(scene.log(), scene.into(scene.pool))
    assert tally.refused == 1
    assert "its user's partition is" in said[0]


def _fields(event: Any) -> Any:
    return encode(event).items()


class DiesAfter:
    """A target whose process is killed after some batches: applied, and not noted."""

    def __init__(self, target: RecordTarget, batches: int) -> None:
        self._target = target
        self._left = batches

    async def apply(self, items: Any) -> Outcome:
        outcome = await self._target.apply(items)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return outcome


@pytest.mark.parametrize("source", ["log", "record"])
@pytest.mark.parametrize("batches", [1, 4])
async def test_a_killed_replay_goes_on(
    scene: Scene, tmp_path: Path, source: str, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its last checkpoint, with the counts of both; nothing is left out and nothing is there twice."""
    monkeypatch.setattr(from_log, "PAGE", 10)
    monkeypatch.setattr(retelling, "PAGE", 10)
    origin = scene.log() if source == "log" else scene.record()
    checkpoint = Checkpoint(tmp_path / "c.json", "this")
    whole, _ = await replayed(origin, NowhereTarget())
    with pytest.raises(KeyboardInterrupt):
        await replayed(origin, DiesAfter(scene.into(scene.other), batches), checkpoint)
    assert (await all_rows(scene.other))["users"] != []
    tally, said = await replayed(origin, scene.into(scene.other), checkpoint)
    assert [line for line in said if line.startswith("going on after")] == (said if batches > 1 else [])
    assert await all_rows(scene.other) == await all_rows(scene.pool)
    assert tally.read >= whole.read
    assert not checkpoint.path.exists()


async def test_a_checkpoint_is_written_now_and_then(tmp_path: Path) -> None:
    """Each is synced, which takes longer than a conversation. What is done when it stops is not forgotten."""
    checkpoint = Checkpoint(tmp_path / "c", "this", write_every_seconds=math.inf)
    tally = Tally(read=1)
    checkpoint.flush()
    assert checkpoint.load() is None
    checkpoint.save(("0", "1-0"), tally)
    checkpoint.flush()
    assert checkpoint.load() == (("0", "1-0"), Tally(read=1))
    tally.read = 2
    checkpoint.save(("0", "2-0"), tally)
    tally.read = 3
    assert checkpoint.load() == (("0", "1-0"), Tally(read=1))
    checkpoint.flush()
    assert checkpoint.load() == (("0", "2-0"), Tally(read=2))


async def test_another_replays_checkpoint_is_refused(tmp_path: Path) -> None:
    """Going on where another one stopped would leave events out."""
    Checkpoint(tmp_path / "c", "one").save(("0", "1-0"), Tally())
    assert Checkpoint(tmp_path / "c", "one").load() is not None
    with pytest.raises(CommandError, match="other options"):
        Checkpoint(tmp_path / "c", "two").load()
    (tmp_path / "c").write_text("{")
    with pytest.raises(CommandError, match="--restart"):
        Checkpoint(tmp_path / "c", "one").load()


@pytest.mark.skipif(ON_A_CLUSTER, reason="a cluster has one database: there is no other log on it")
async def test_another_log_gets_each_entry_once(scene: Scene, redis_url: str) -> None:
    """At its own position. A second time all is found; what cannot go in between any more is reported."""
    client = RedisClient(redis_url.rstrip("/") + "/1")
    try:
        keys = scene.stage.redis.keys
        target = StreamTarget(client, keys)
        first, _ = await replayed(scene.log(), target)
        again, _ = await replayed(scene.log(), target)
        assert (first.applied, first.known, first.refused) == (len(scene.events), 0, 0)
        assert (again.applied, again.known, again.refused) == (0, len(scene.events), 0)
        for partition in range(keys.partitions):
            there = await client.call("XRANGE", keys.events(partition), "-", "+")
            here = await scene.stage.redis.client.call("XRANGE", keys.events(partition), "-", "+")
            assert there == here
        # Its persister makes the same rows of it.
        await replayed(LogSource(client, keys, EVERYTHING), scene.into(scene.other))
        assert await all_rows(scene.other) == await all_rows(scene.pool)

        home = keys.events(keys.partition(ALICE))
        mine = [i for i in scene.placed if i.event.user_id == ALICE]
        await client.call("XDEL", home, str(mine[3].position))
        tally, said = await replayed(scene.log(user=ALICE), target)
        assert tally.refused == 1
        assert str(mine[3].position) in said[0]
        await client.call("XTRIM", home, "MINID", str(mine[9].position))
        tally, _ = await replayed(scene.log(user=ALICE), target)
        assert (tally.applied, tally.refused) == (0, 0)
    finally:
        await client.aclose()


async def test_standard_output_is_the_contract(scene: Scene) -> None:
    """A line for each event, which reads as that event again."""
    out = io.StringIO()
    await replayed(scene.log(), OutputTarget(out))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    by_place = {(line["partition"], line["position"]): line["event"] for line in lines}
    assert len(lines) == len(scene.placed)
    for item in scene.placed:
        told = EVENT.validate_json(json.dumps(by_place[item.partition, item.position]))
        assert (told.type, told.user_id, told.at_ms) == (
            item.event.type,
            item.event.user_id,
            item.event.at_ms,
        )


async def test_a_dry_run_counts_and_changes_nothing(scene: Scene) -> None:
    """Kinds of events, users and conversations."""
    target = NowhereTarget()
    tally, _ = await replayed(scene.log(), target)
    assert tally.applied == 0
    assert sum(target.kinds.values()) == len(scene.events)
    report = dict(line.rsplit(maxsplit=1) for line in target.report().splitlines())
    assert (report["users"], report["conversations"]) == ("3", "12")


async def test_caches_are_made_anew_and_never_moved_backwards(scene: Scene) -> None:
    """A wrong list is mended, and what is pending on a conversation is in the new one."""
    s = scene.stage
    conversation = await s.conversation(messages=3, user=ALICE)
    keys = s.redis.keys.conversation(ALICE, conversation)
    await s.redis.client.call("LPOP", keys.messages)
    await s.redis.client.call("RPUSH", keys.messages, b'{"sequence_number":7,"id":"x"}')
    target = CachesTarget(s.redis.cache, s.parts.rebuilder)
    await replayed(scene.log(user=ALICE), target)
    assert await s.numbers(conversation, user=ALICE) == [0, 1, 2]
    header = await s.redis.cache.header(ALICE, conversation)
    assert header is not None
    assert header.next_sequence_number == 3
    await s.append(conversation, "one more", ALICE)
    assert await s.numbers(conversation, user=ALICE) == [0, 1, 2, 3]


async def test_caches_keep_what_only_redis_knows(scene: Scene) -> None:
    """A header with anything pending stays until that is settled; one without goes, a deleted one stays."""
    s = scene.stage
    conversation = await s.conversation(messages=1, user=ALICE)
    names = s.redis.keys.conversation(ALICE, conversation)
    assert await s.redis.cache.drop_conversation(ALICE, conversation)
    assert await s.redis.client.call("EXISTS", names.header, names.messages) == 1
    await s.append(conversation, "two", ALICE)
    assert await s.numbers(conversation, user=ALICE) == [0, 1]
    await persist(s, ALICE)
    assert await s.redis.client.call("EXISTS", names.header) == 0
    assert await s.numbers(conversation, user=ALICE) == [0, 1]
    assert not await s.redis.cache.drop_conversation(ALICE, conversation)
    await s.parts.publisher.delete(ALICE, conversation, at_ms=NOW)
    assert await s.redis.cache.drop_conversation(ALICE, conversation)


async def test_caches_of_the_record_are_made_from_its_names(scene: Scene) -> None:
    """A header that is wrong and has nothing pending goes; a deleted conversation stays so."""
    s = scene.stage
    about = some_conversation(scene.events, BOB)
    await s.parts.rebuilder.conversation(BOB, about)
    header = s.redis.keys.conversation(BOB, about).header
    await s.redis.client.call("HSET", header, "count", "999", "next", "999")
    source = RecordSource(s.pool, s.redis.keys, Selection(user=BOB), names_only=True)
    await replayed(source, CachesTarget(s.redis.cache, s.parts.rebuilder))
    found = await s.redis.cache.header(BOB, about)
    assert found is not None
    assert (found.message_count, found.next_sequence_number) == (90, 90)
    assert len(await s.numbers(about, user=BOB)) == 50


async def test_a_rate_is_kept_in_small_steps(scene: Scene) -> None:
    """Batches are a fraction of a second's worth, so that a target is never given all at once."""
    sizes: list[int] = []

    class Sizes:
        async def apply(self, items: list[Item]) -> Outcome:
            sizes.append(len(items))
            return Outcome(applied=len(items))

    await replayed(scene.log(user=ALICE), Sizes(), rate=400)  # pyright: ignore[reportArgumentType]
    assert max(sizes) <= 100

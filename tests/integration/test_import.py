"""`turnlog import` on real servers: everything arrives, twice is once, and what is refused is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from common.domain.conversations import Header
from common.domain.errors import LogUnavailable
from common.domain.ids import UserId, new_conversation_id
from common.settings import Settings
from tests.e2e.commands import run as command
from tests.keeping import in_places, with_redis
from tests.persisting import go_cold, persist
from tests.stage import Scene, Stage, scene_of
from tests.waiting import wait_until
from tools.errors import CommandError
from tools.importing.importer import Importer
from tools.importing.lines import read_lines
from tools.importing.tally import Tally
from tools.settling import log_ends, outstanding, wait_settled

ALICE, BOB = UserId("alice@example.com"), UserId("bob@example.com")


class Heard:
    """A progress that remembers what was said, and how far it came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bytes = 0

    def advance(self, size: int, tally: Tally) -> None:
        self.bytes += size

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
async def scene(kept: Settings) -> AsyncGenerator[Scene]:
    async with scene_of(kept) as made:
        yield made


@pytest.fixture
def heard() -> Heard:
    return Heard()


def conversation(user: str = ALICE, messages: int = 3, **changes: Any) -> dict[str, Any]:
    """A conversation as it stands in a file."""
    sent = [
        {
            "role": ("user", "assistant")[i % 2],
            "content": None if i == 1 else f"message {i}",
            "tool_calls": [{"id": "call", "arguments": {"deep": [i, 2**70, 0.5, None]}}],
            "created_at": f"2024-03-01T09:{i // 60 % 60:02}:{i % 60:02}Z",
            "extra": {"ü": "😀"},
        }
        for i in range(messages)
    ]
    made = {"conversation_id": new_conversation_id(), "user_id": user, "title": "T", "model": "m"}
    return {**made, "messages": sent, **changes}


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    """A file of `lines`."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


async def run(scene: Scene, heard: Heard, path: Path, **options: Any) -> Tally:
    """Import a file."""
    importer = Importer(scene.parts.publisher, scene.settings.limits, heard, **options)
    await importer.run(read_lines([path]))
    return importer.tally


async def stored(scene: Scene, sent: dict[str, Any], user: UserId | None = None) -> list[dict[str, Any]]:
    """What a reader gets for a conversation of the file, less what Turnlog assigned."""
    found = await scene.parts.history.recent(
        user or UserId(sent["user_id"]), sent["conversation_id"], len(sent["messages"]) + 1
    )
    assigned = {"id", "sequence_number"}
    return [{k: v for k, v in json.loads(m).items() if k not in assigned} for m in found]


async def headers(scene: Scene, sent: list[dict[str, Any]]) -> list[Header]:
    """The headers of the file's conversations."""
    header = scene.parts.history.header
    return [await header(UserId(one["user_id"]), one["conversation_id"]) for one in sent]


async def test_what_is_read_back_is_what_was_in_the_file(scene: Scene, heard: Heard, tmp_path: Path) -> None:
    """Unknown fields, nulls and big integers too; each conversation is its user's."""
    sent = [conversation(ALICE), conversation(BOB, messages=60), conversation(BOB, messages=0)]
    path = written(tmp_path / "chats.jsonl", *sent)
    tally = await run(scene, heard, path)
    assert (tally.new, tally.new_messages, tally.refused) == (3, 63, 0)
    for one in sent:
        assert await stored(scene, one) == one["messages"]
    assert heard.bytes == path.stat().st_size
    assert heard.lines == []


async def test_history_keeps_its_times(scene: Scene, heard: Heard, tmp_path: Path) -> None:
    """A list of imported conversations is in the order in which they happened."""
    sent = conversation(messages=61)
    await run(scene, heard, written(tmp_path / "chats.jsonl", sent))
    header = await scene.parts.history.header(ALICE, sent["conversation_id"])
    assert header.state.created_at == "2024-03-01T09:00:00.000Z"
    assert header.last_modified_ms == 1_709_283_660_000
    assert (header.state.title, header.state.model, header.message_count) == ("T", "m", 61)


@in_places("hot", "persisted", "persisted and out of the cache")
async def test_importing_twice_changes_nothing(
    scene: Scene, heard: Heard, tmp_path: Path, place: str
) -> None:
    """Not one event more, wherever the first import is by then."""
    sent = [conversation(ALICE, messages=2100), conversation(BOB), conversation(BOB, messages=0)]
    path = written(tmp_path / "chats.jsonl", *sent)
    await run(scene, heard, path)
    if place != "hot":
        await persist(scene, ALICE)
        await persist(scene, BOB)
    before = await headers(scene, sent)
    if place.endswith("cache"):
        await scene.drop_caches()

    tally = await run(scene, heard, path)

    assert (tally.new, tally.known) == (0, 3)
    assert (tally.new_messages, tally.known_messages) == (0, 2103)
    assert await headers(scene, sent) == before, "their versions count events"
    for one in sent:
        assert await stored(scene, one) == one["messages"]


async def test_a_conversation_that_has_grown_gets_what_is_new(
    scene: Scene, heard: Heard, tmp_path: Path
) -> None:
    """The older messages are found by their derived ids."""
    sent = conversation(messages=30)
    begun = {**sent, "messages": sent["messages"][:10]}
    await run(scene, heard, written(tmp_path / "begun.jsonl", begun))
    tally = await run(scene, heard, written(tmp_path / "grown.jsonl", sent))
    assert (tally.new, tally.new_messages, tally.known_messages) == (1, 20, 10)
    assert await stored(scene, sent) == sent["messages"]


async def test_a_renamed_conversation_keeps_its_new_name(scene: Scene, heard: Heard, tmp_path: Path) -> None:
    """An import adds; it does not take back what was done here since."""
    sent = conversation()
    path = written(tmp_path / "chats.jsonl", sent)
    await run(scene, heard, path)
    await scene.parts.publisher.update(ALICE, sent["conversation_id"], title="Renamed", at_ms=1)
    await run(scene, heard, path)
    header = await scene.parts.history.header(ALICE, sent["conversation_id"])
    assert header.state.title == "Renamed"


async def test_two_lines_of_one_conversation_keep_the_order_of_the_file(
    scene: Scene, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though many conversations are under way at once, and the first line takes its time."""
    publisher = scene.parts.publisher
    append_to_new = publisher.append_to_new
    overtaken = asyncio.Event()

    async def slow_at_first(*args: Any, **kwargs: Any) -> Any:
        if args[3][0].id == "part 0":
            with suppress(TimeoutError):
                await asyncio.wait_for(overtaken.wait(), 0.1)
        overtaken.set()
        return await append_to_new(*args, **kwargs)

    monkeypatch.setattr(publisher, "append_to_new", slow_at_first)
    one = conversation(messages=0)
    texts = [f"part {i}" for i in range(20)]
    parts = [{**one, "messages": [{"id": text, "role": "user", "content": text}]} for text in texts]
    await run(scene, heard, written(tmp_path / "chats.jsonl", *parts))
    assert [m["content"] for m in await stored(scene, {**one, "messages": parts})] == texts


async def test_lines_that_are_refused_are_named_and_the_rest_goes_on(
    scene: Scene, heard: Heard, tmp_path: Path
) -> None:
    """File, line and field; every wrong field of a line."""
    good = conversation()
    bad = conversation(model=5)
    bad["messages"][1]["role"] = 7
    path = written(tmp_path / "chats.jsonl", "{oops", bad, "", good, conversation(user="\t"))
    tally = await run(scene, heard, path)
    assert (tally.new, tally.refused) == (1, 3)
    assert sorted(heard.lines) == [
        f"{path}:1: not JSON: key must be a string at line 1 column 2",
        f"{path}:2: model: must be text",
        f"{path}:5: user_id: must be 1 to 200 characters, none of them a control character",
    ]


async def test_strict_stops_at_the_first(scene: Scene, heard: Heard, tmp_path: Path) -> None:
    """What is under way is finished or left out; nothing after it is begun."""
    path = written(tmp_path / "chats.jsonl", "{oops", *[conversation() for _ in range(20)])
    tally = await run(scene, heard, path, strict=True, concurrency=1)
    assert (tally.new, tally.refused) == (0, 1)
    assert heard.lines[-1] == "stopped at the first line that was refused (--strict)"


async def test_another_message_under_a_known_id_is_refused(
    scene: Scene, heard: Heard, tmp_path: Path
) -> None:
    """The file was changed since, or is another one: which of the two is right, nobody here can know."""
    sent = conversation()
    await run(scene, heard, written(tmp_path / "chats.jsonl", sent))
    sent["messages"][0]["content"] = "not what was said"
    tally = await run(scene, heard, written(tmp_path / "changed.jsonl", sent))
    assert tally.refused == 1
    assert "is taken by a message with another body" in heard.lines[0]


@pytest.mark.parametrize("cold", [False, True])
async def test_a_deleted_conversation_stays_deleted(
    scene: Scene, heard: Heard, tmp_path: Path, cold: bool
) -> None:
    """It is left out and said, and is no reason to fail; also one without messages."""
    path = written(tmp_path / "chats.jsonl", *[one := conversation(), conversation(messages=0)])
    await run(scene, heard, path)
    for line in path.read_text().splitlines():
        await scene.parts.publisher.delete(ALICE, json.loads(line)["conversation_id"], at_ms=1)
    if cold:
        await go_cold(scene)
    tally = await run(scene, heard, path)
    assert (tally.deleted, tally.new, tally.refused) == (2, 0, 0)
    assert f"{path}:1: the conversation was deleted here, which is final: left out" in heard.lines
    assert one["conversation_id"] not in str(await scene.parts.listing.page(ALICE, page=1, page_size=10))


async def test_another_user_can_be_named(scene: Scene, heard: Heard, tmp_path: Path) -> None:
    """Lines need no user of their own then, and have none of their own."""
    sent = [conversation(BOB), conversation(user_id=None)]
    tally = await run(scene, heard, written(tmp_path / "chats.jsonl", *sent), user=ALICE)
    assert (tally.new, tally.refused) == (2, 0)
    for one in sent:
        assert await stored(scene, one, ALICE) == one["messages"]


async def test_a_busy_log_is_waited_for(
    scene: Scene, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it says, then the same again."""
    calls = 0
    publisher = scene.parts.publisher
    append_to_new = publisher.append_to_new

    async def busy_twice(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise LogUnavailable("full", retry_after=0.01)
        return await append_to_new(*args, **kwargs)

    monkeypatch.setattr(publisher, "append_to_new", busy_twice)
    tally = await run(scene, heard, written(tmp_path / "chats.jsonl", conversation()))
    assert (tally.new, calls) == (1, 3)


async def test_it_is_given_up_when_nothing_gets_through(
    scene: Scene, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and what to do."""

    async def busy(*_: Any, **__: Any) -> None:
        raise LogUnavailable("Redis cannot be reached", retry_after=0.01)

    monkeypatch.setattr(scene.parts.publisher, "append_to_new", busy)
    path = written(tmp_path / "chats.jsonl", *[conversation() for _ in range(50)])
    with pytest.raises(CommandError, match=r"without progress: Redis cannot be reached\. Run the same"):
        await run(scene, heard, path, patience_seconds=0.05)


@with_redis
async def test_settled_means_in_postgresql(scene: Stage, heard: Heard, tmp_path: Path) -> None:
    """Not merely read from the log; what others publish meanwhile is not waited for."""
    group, partitions = scene.redis.group, scene.redis.keys.partitions
    await run(scene, heard, written(tmp_path / "chats.jsonl", conversation(), conversation()))
    ends = await log_ends(group, partitions)
    assert await outstanding(group, partitions) == 4
    assert not await wait_settled(group, ends, stall_seconds=0.05)

    waiting = asyncio.create_task(wait_settled(group, ends, stall_seconds=10))
    await persist(scene)
    await scene.append((await scene.conversation()), "later")

    await wait_until(waiting.done)
    assert waiting.result()
    assert await outstanding(group, partitions) == 2
    assert await wait_settled(group, {})


def test_the_command_says_what_came_of_it(kept: Settings, tmp_path: Path) -> None:
    """Counts on standard output, what was refused on standard error, and a status for scripts."""
    own = {"REDIS_URL": kept.redis.dsn, "DATABASE_URL": kept.postgres.dsn}
    own["REDIS_ENABLED"] = str(kept.uses_redis)
    path = written(tmp_path / "chats.jsonl", conversation(), conversation(BOB), "{oops")

    result = command("import", str(path), "--no-wait", "--data-dir", str(tmp_path), environment=own)

    assert result.returncode == 1, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["conversations", "2"]
    assert ["messages", "6"] in lines
    assert ["lines", "refused", "1"] in lines
    assert f"{path}:3: not JSON" in result.stderr
    assert '"event"' not in result.stderr, "what its parts log is for operators of services"

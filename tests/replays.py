"""A moderately rich history, on the log and in the record, and replays of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from common.contract.stream import encode
from common.domain.events import ConversationEvent, QueryLogged
from common.domain.ids import ConversationId, Position, UserId
from common.postgres.changes import Recorded
from common.postgres.pool import Pool
from common.redis.commands import Client
from common.redis.keys import Keys
from tests.record import NOW, History, logged
from tools.replay.checkpoint import Checkpoint
from tools.replay.page import Source, Target
from tools.replay.run import Replay
from tools.replay.tally import Tally

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
TABLES = ("conversations", "messages", "tombstones", "removed_messages", "query_logs")
Events = list[ConversationEvent | QueryLogged]


class Heard:
    """A progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, tally: Tally) -> None:
        pass

    def say(self, text: str) -> None:
        self.lines.append(text)


def rich_history() -> Events:
    """Every kind of event; also a conversation that is gone, and one whose creation is not known."""
    events: Events = []
    for user in (ALICE, BOB, CAROL):
        plain, busy, gone, unborn = (History(user) for _ in range(4))
        plain.created()
        for i in range(30):
            plain.appended(f"message {i}", None, ["a part"])
        busy.created()
        busy.appended("one", "two", "three", "four")
        busy.edited(1, "two, edited")
        busy.removed(2)
        busy.updated("Another title")
        busy.appended("five", "six")
        busy.truncated(3)
        busy.appended("seven")
        busy.edited(1, "two, edited again")
        gone.created()
        gone.appended("nothing", "of this", "remains")
        gone.truncated(0)
        gone.deleted()
        unborn.version = 1
        unborn.appended("its creation is not known")
        unborn.edited(0, "nor what this was")
        histories = (plain, busy, gone, unborn)
        events += [_as_sent(event) for history in histories for event in history.events]
        events += [logged(f"q{i}", user) for i in range(3)]
    return events


def _as_sent(event: Any) -> Any:
    """With a state that the gateway would let in."""
    if event.type not in ("conversation.created", "conversation.updated"):
        return event
    return event.model_copy(update={"state": replace(event.state, metadata=b'{"n":0.5}')})


async def put_on_log(client: Client, keys: Keys, events: Sequence[Any]) -> list[Recorded]:
    """Put events on the log, each in its user's partition; where they stand."""
    placed: list[Recorded] = []
    for i, event in enumerate(events):
        partition, position = keys.partition(event.user_id), Position(f"{NOW + i}-0")
        flat = [part for pair in encode(event).items() for part in pair]
        await client.call("XADD", keys.events(partition), position, *flat)
        placed.append(Recorded(partition, position, event))
    return placed


async def put_poison(client: Client, keys: Keys, user: UserId, position: str) -> None:
    """An entry that is no event."""
    about = ("v", "1", "type", "messages.appended", "user", user, "at", "never")
    await client.call("XADD", keys.events(keys.partition(user)), position, *about)


async def all_rows(pool: Pool) -> dict[str, list[dict[str, Any]]]:
    """Every row of users' data with every column, and who there is."""
    found = {table: await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in TABLES}
    rows = {table: [dict(row) for row in records] for table, records in found.items()}
    users = await pool.fetch("SELECT user_id FROM users ORDER BY 1")
    return {**rows, "users": [dict(user) for user in users]}


async def replayed(
    source: Source, target: Target, checkpoint: Checkpoint | None = None, **options: Any
) -> tuple[Tally, list[str]]:
    """Run a replay to its end: its counts, and what it said."""
    heard = Heard()
    run = Replay(source, target, heard, checkpoint, **options)
    await run.run()
    return run.tally, heard.lines


def some_conversation(events: Events, user: UserId) -> ConversationId:
    """The first conversation of a user."""
    return next(e.conversation_id for e in events if e.user_id == user and e.conversation_id)

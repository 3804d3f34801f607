"""A record told on logs: its own, and that of another instance with nothing in it yet."""

from __future__ import annotations

from typing import Any, Final

from pydantic import SecretStr

from common.postgres.changes import Recorded
from common.postgres.writer import BatchWriter
from common.redis.commands import Client
from common.redis.functions import Functions
from common.redis.group import ConsumerGroup
from common.settings import Settings
from tests.persisters import QUICK
from tests.replays import Events, rich_history
from tests.stage import Stage
from tools.replay.from_record import RecordSource
from tools.replay.page import Item
from tools.replay.selection import Selection
from tools.replay.to_stream import TellingTarget
from tools.settling import log_ends, wait_settled

_NOT_CACHES: Final = ("events", "volume", "log", "heartbeats")


def quick(settings: Settings) -> Settings:
    """With a persister that does not let a test wait."""
    return settings.model_copy(update={"persister": QUICK})


def instance(settings: Settings, *, redis: str, postgres: str) -> Settings:
    """Another instance, on these servers."""
    return settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"url": SecretStr(redis)}),
            "postgres": settings.postgres.model_copy(update={"url": SecretStr(postgres)}),
        }
    )


async def stored_history(scene: Stage) -> Events:
    """A rich history in the record, of which the log has nothing any more."""
    events = rich_history()
    await BatchWriter(scene.pool).write([Recorded(0, None, event) for event in events])
    return events


def record_of(scene: Stage, **selection: Any) -> RecordSource:
    """What is selected of the scene's record."""
    return RecordSource(scene.pool, scene.redis.keys, Selection(**selection))


def onto(scene: Stage, client: Client | None = None) -> TellingTarget:
    """A log as the target: the scene's own, or the one that `client` is of."""
    return TellingTarget(Functions(client or scene.redis.client), scene.redis.keys)


async def read(source: RecordSource) -> list[Item]:
    """All of a source, as it is at this moment."""
    return [item async for page in source.pages(None) for item in page.items]


async def all_settled(scene: Stage, client: Client | None = None) -> None:
    """Wait until a persister has taken in all that is on the log."""
    group = ConsumerGroup(Functions(client or scene.redis.client), scene.redis.keys, scene.settings.redis)
    assert await wait_settled(group, await log_ends(group, scene.redis.keys.partitions))


async def length(scene: Stage, client: Client | None = None) -> int:
    """How many entries the log has."""
    used, keys = client or scene.redis.client, scene.redis.keys
    return sum([await used.call("XLEN", keys.events(p)) for p in range(keys.partitions)])


async def cached(client: Client) -> dict[str, Any]:
    """Everything in Redis but the log and what is measured of it."""
    found: dict[str, Any] = {}
    for key in sorted(await client.call("KEYS", "*")):
        name = key.decode()
        if name.rpartition(":")[2] in _NOT_CACHES or ":stats:" in name:
            continue
        kind = (await client.call("TYPE", key)).decode()
        command, arguments = _WHOLE[kind]
        found[name] = await client.call(command, key, *arguments)
    return found


_WHOLE: Final[dict[str, tuple[str, tuple[str | int, ...]]]] = {
    "hash": ("HGETALL", ()),
    "list": ("LRANGE", (0, -1)),
    "set": ("SMEMBERS", ()),
    "zset": ("ZRANGE", (0, -1, "WITHSCORES")),
    "stream": ("XRANGE", ("-", "+")),
    "string": ("GET", ()),
}

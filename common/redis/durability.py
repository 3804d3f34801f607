"""What of a Redis server's settings lets acknowledged messages be lost, and when."""

from __future__ import annotations

from typing import Final

import structlog
from redis.exceptions import ResponseError

from common.domain.durability import Weakness
from common.redis.commands import Client
from common.redis.info import parse_info

_ASKED: Final = ("appendonly", "appendfsync", "maxmemory")

log = structlog.get_logger(__name__)


async def redis_weaknesses(client: Client) -> list[Weakness]:
    """What is weaker than the log's default, on any server of the log. Raises LogUnavailable.

    A managed server may refuse CONFIG: then only what INFO tells is known.
    """
    found = [weakness for node in await client.nodes() for weakness in await _weaknesses_of(node)]
    return list({weakness.name: weakness for weakness in found}.values())


async def _weaknesses_of(client: Client) -> list[Weakness]:
    facts = parse_info(await client.call("INFO"))
    asked: dict[str, str] = {}
    for name in _ASKED:
        try:
            reply = await client.call("CONFIG", "GET", name)
        except ResponseError as error:
            log.debug("redis_setting_not_known", setting=name, reason=str(error)[:100])
        else:
            asked.update({name: reply[1].decode()} if reply else {})
    append_only = asked.get("appendonly", "no" if facts.get("aof_enabled") == "0" else "yes")
    found = [*_of_the_file(append_only, asked.get("appendfsync", "always"))]
    if int(asked.get("maxmemory", facts.get("maxmemory", "0"))) == 0:
        found.append(
            Weakness(
                "redis_without_maxmemory",
                "in a container or on a box with a limit the kernel kills Redis when memory runs out, "
                "where it would have refused writes",
                "maxmemory, or REDIS_MAX_MEMORY_BYTES",
                minor=True,
            )
        )
    return found


def _of_the_file(append_only: str, fsync: str) -> list[Weakness]:
    if append_only != "yes":
        return [
            Weakness(
                "redis_without_aof",
                "when Redis ends in any way but a clean shutdown, acknowledged messages that are not yet in "
                "PostgreSQL are lost (all since the last snapshot, if there is one)",
                "appendonly yes, appendfsync always",
            )
        ]
    if fsync == "always":
        return []
    window = "up to one second" if fsync == "everysec" else "about half a minute (what the kernel holds back)"
    return [
        Weakness(
            f"redis_fsync_{fsync}",
            f"{window} of acknowledged messages may be lost at power failure or kernel crash; not when only "
            "Redis is killed",
            "appendfsync always, or ?ack=persisted where it matters",
        )
    ]

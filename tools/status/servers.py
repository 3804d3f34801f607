"""What the servers of the log say of themselves: one, or the primaries of a cluster, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.domain.errors import LogUnavailable
from common.redis.client import RedisClient
from common.redis.commands import Client
from common.redis.info import parse_info
from tools.status.report import NodeStatus


@dataclass(frozen=True, slots=True)
class Servers:
    """Sums over those that answer; `max_bytes` 0 where one has no limit, `append_only` where all are."""

    version: str
    used_bytes: int
    max_bytes: int
    keys: int
    evicted_keys: int
    append_only: bool
    nodes: list[NodeStatus]


async def ask_servers(client: Client) -> Servers:
    """Ask each. Raises LogUnavailable where none answers."""
    answers: list[Mapping[str, str]] = []
    keys, nodes, last = 0, list[NodeStatus](), LogUnavailable("no node of the Redis cluster can be reached")
    for node in await client.nodes():
        name = node.name if isinstance(node, RedisClient) else "Redis"
        try:
            facts, held = parse_info(await node.call("INFO")), await node.call("DBSIZE")
        except LogUnavailable as error:
            last = error
            nodes.append(NodeStatus(name=name, away=str(error)))
            continue
        answers.append(facts)
        keys += held
        used, limit = int(facts["used_memory"]), int(facts.get("maxmemory", 0))
        nodes.append(NodeStatus(name=name, used_bytes=used, max_bytes=limit, keys=held))
    if not answers:
        raise last
    limits = [int(facts.get("maxmemory", 0)) for facts in answers]
    return Servers(
        version=answers[0].get("valkey_version") or answers[0].get("redis_version", "unknown"),
        used_bytes=sum(int(facts["used_memory"]) for facts in answers),
        max_bytes=sum(limits) if all(limits) else 0,
        keys=keys,
        evicted_keys=sum(int(facts.get("evicted_keys", 0)) for facts in answers),
        append_only=all(facts.get("aof_enabled") == "1" for facts in answers),
        nodes=nodes if client.clustered else [],
    )

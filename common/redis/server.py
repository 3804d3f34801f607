"""What Turnlog demands of a Redis server, checked before a service uses it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from common.domain.errors import LogUnavailable, UnsafeConfiguration
from common.redis.commands import Client
from common.redis.durability import redis_weaknesses
from common.redis.functions import Functions
from common.redis.info import parse_info, wrong_kind
from common.redis.keys import Keys

OLDEST_VERSION: Final = (7, 0)
RETRY_SECONDS: Final = 0.5
log = structlog.get_logger(__name__)


async def prepare_server(functions: Functions, keys: Keys) -> None:
    """Check the server's policy and partition count and put the function library in place.

    Raises UnsafeConfiguration where the server could evict the log, is too old, or holds a log with
    another number of partitions.
    """
    try:
        for node in await functions.client.nodes():
            await check_policy(node, clustered=functions.client.clustered)
    except LogUnavailable as refused:
        # A connection that was not admitted, because what is demanded here is not so.
        if isinstance(refused.__cause__, UnsafeConfiguration):
            raise refused.__cause__ from None
        raise
    await claim_partitions(functions.client, keys)
    if not await functions.is_current():
        await functions.load()
    for weakness in await redis_weaknesses(functions.client):
        say = log.info if weakness.minor else log.warning
        say(weakness.name, consequence=weakness.consequence, remedy=weakness.remedy)


async def prepare_when_there(functions: Functions, keys: Keys, stop: asyncio.Event) -> bool:
    """`prepare_server` as soon as Redis answers; False where `stop` was set before it did."""
    while not stop.is_set():
        try:
            await prepare_server(functions, keys)
        except LogUnavailable as error:
            log.warning("redis_not_there_yet", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await stop.wait()
        else:
            return True
    return False


async def check_policy(node: Client, *, clustered: bool) -> None:
    """Refuse an eviction policy that may take the log itself, a server that is a replica, and one that is not
    of the kind that REDIS_CLUSTER says."""
    facts = parse_info(await node.call("INFO"))
    mistaken = wrong_kind(facts, clustered=clustered)
    if mistaken:
        raise UnsafeConfiguration(mistaken)
    version = facts.get("redis_version", "0.0")
    if tuple(map(int, version.split(".")[:2])) < OLDEST_VERSION:
        raise UnsafeConfiguration(f"Redis {version} has no functions: 7.0 or Valkey 7.2 is the oldest")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        raise UnsafeConfiguration(
            f"Redis runs with maxmemory-policy {policy}: under memory pressure it would evict the event "
            "log itself. Set maxmemory-policy to noeviction (or a volatile-* policy)."
        )
    if facts.get("role", "master") != "master":
        # It may be promoted at any time: then it is what it should be.
        raise LogUnavailable("Redis is a replica: REDIS_URL must name the primary")


async def claim_partitions(client: Client, keys: Keys) -> None:
    """Store the partition count at the first use of a log; refuse another one after."""
    key = keys.log(0)
    await client.call("HSETNX", key, "partitions", keys.partitions)
    found = int(await client.call("HGET", key, "partitions"))
    if found != keys.partitions:
        raise UnsafeConfiguration(
            f"the log in Redis has {found} partitions, REDIS_PARTITIONS says {keys.partitions}: "
            f"set REDIS_PARTITIONS={found}"
        )

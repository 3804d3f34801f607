"""A Redis cluster of three primaries of our own, and what tests do to it."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from pydantic import SecretStr

from common.domain.errors import LogUnavailable
from common.redis.client import RedisClient
from common.redis.routing import PLACES, SLOTS, slot_of_key
from common.redis.topology import Address, Ranges, address_of, read_topology
from common.settings import RedisSettings, load_settings
from tests.servers import run_apart
from tests.waiting import wait_until
from tools.embedded.home import EmbeddedHome, embedded_home, remove_home
from tools.embedded.server import GuardedServer, ServerSpec, free_port
from tools.embedded.valkey import valkey_server

ON_A_CLUSTER: Final = os.environ.get("TURNLOG_TEST_REDIS") == "cluster"
"""Whether the session's tests run on a cluster: `TURNLOG_TEST_REDIS=cluster ./turnlog test …`."""
PRIMARIES: Final = 3
OF_CLUSTERS: set[str] = set()
"""The URLs of all nodes that run: how the kits of the tests know a cluster's."""


def redis_settings(url: str, **more: Any) -> RedisSettings:
    """Settings of the Redis at `url`, which is a node of a cluster of ours or a server alone."""
    return RedisSettings(url=SecretStr(url), cluster=url in OF_CLUSTERS, **more)


def _route_for_tests() -> set[str]:
    """Let tests look with commands that Turnlog itself does not use; all have their key in front."""
    names = "HSET HDEL HGETALL HLEN HKEYS LLEN LMOVE LPOP LPUSH LREM LTRIM RPOP RPUSH SADD SMEMBERS SCARD"
    names += " SISMEMBER INCR TTL TYPE PERSIST XACK XDEL XTRIM XSETID ZADD ZCARD ZRANGE ZREM ZSCORE"
    names += " ZRANK ZINCRBY LSET"
    more: set[str] = {*names.split()} - {*PLACES}
    PLACES.update(dict.fromkeys(more, PLACES["GET"]))
    if "EVAL" not in PLACES:
        PLACES["EVAL"] = PLACES["FCALL"]
        more.add("EVAL")
    return more


FOR_TESTS: Final = _route_for_tests() if ON_A_CLUSTER else set[str]()


@dataclass
class Node:
    """One primary, which a test may kill and start again."""

    spec: ServerSpec
    log_file: Path
    running: GuardedServer | None = None

    @property
    def dsn(self) -> str:
        return self.spec.dsn

    @property
    def address(self) -> Address:
        return address_of(self.dsn)

    def lose_data(self) -> None:
        """Kill it and take its log away, but not its place in the cluster."""
        self.kill()
        for file in self.spec.directory.rglob("*.aof*"):
            file.unlink()
        for file in self.spec.directory.rglob("*.manifest"):
            file.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it with all that it had, and wait until it answers."""
        self.running = GuardedServer(self.spec, self.log_file)
        run_apart(self.running.wait_ready())

    def stop(self) -> None:
        """Stop it, if it runs."""
        running, self.running = self.running, None
        if running is not None:
            running.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(int(self.spec.pid_file.read_text().split()[0]), signal.SIGKILL)
        assert self.running is not None
        self.running.guard.wait(30)
        self.stop()

    def call(self, *command: str | int) -> Any:
        """One command over a connection of its own; the reply as it comes."""
        with redis.Redis.from_url(self.dsn, decode_responses=True, protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)


@dataclass(frozen=True)
class Cluster:
    """All of it."""

    nodes: list[Node]

    @property
    def dsn(self) -> str:
        """One node's, which leads to all."""
        return self.nodes[0].dsn

    def owner(self, key: str) -> Node:
        """The node that began with the slot of `key`."""
        return self.nodes[slot_of_key(key) * PRIMARIES // SLOTS]

    def everywhere(self, *command: str | int) -> None:
        """A command to each node."""
        for node in self.nodes:
            node.call(*command)

    def clear(self) -> None:
        """Take everything away but the functions, and undo what a test did to it."""
        for node in self.nodes:
            if node.running is None:
                node.start()
        run_apart(self.settle())
        self.everywhere("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 0)
        self.everywhere("FLUSHALL")

    async def settle(self) -> None:
        """Wait until every node says the same of who has which slots, and that all are served."""
        await wait_until(self._agreed, timeout_seconds=30, message="the cluster is whole")

    async def _agreed(self) -> bool:
        views = [await _view(node) for node in self.nodes]
        return None not in views and all(view == views[0] for view in views)


async def _view(node: Node) -> dict[Address, Ranges] | None:
    """What a node says of the cluster; None where it is not content with it."""
    client = RedisClient(node.dsn)
    try:
        facts: bytes = await client.call("CLUSTER", "INFO")
        slots = read_topology(await client.call("CLUSTER", "SLOTS"), node.address)
    except LogUnavailable:
        return None
    finally:
        await client.aclose()
    whole = b"cluster_state:ok" in facts and None not in slots.owners
    return slots.ranges if whole else None


@contextmanager
def running_cluster(node_timeout_ms: int = 5000) -> Generator[Cluster]:
    """A cluster with equal ranges of slots, as `valkey-cli --cluster create` makes it; gone after the block.

    One primary that is away stops nobody else: `cluster-require-full-coverage no`.
    """
    options = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": str(node_timeout_ms),
        "cluster-require-full-coverage": "no",
        "cluster-announce-ip": "127.0.0.1",
    }
    with tempfile.TemporaryDirectory(prefix="turnlog-cluster-") as directory:
        homes: list[EmbeddedHome] = []
        nodes: list[Node] = []
        try:
            password = secrets.token_hex(16)
            for i in range(PRIMARIES):
                place = Path(directory) / str(i)
                place.mkdir()
                homes.append(embedded_home(place, load_settings(env_file=None).embedded))
                # Slots move over a connection as to a replica, which is asked for the password, too.
                ports = {**options, "cluster-port": str(free_port()), "masterauth": password}
                spec = valkey_server(homes[-1], port=free_port(), password=password, options=ports)
                nodes.append(Node(spec, place / "server.log"))
                nodes[-1].start()
            cluster = Cluster(nodes)
            _join(cluster)
            OF_CLUSTERS.update(node.dsn for node in nodes)
            yield cluster
        finally:
            for node in nodes:
                node.stop()
            for home in homes:
                remove_home(home)


def _join(cluster: Cluster) -> None:
    bounds = [i * SLOTS // PRIMARIES for i in range(PRIMARIES)] + [SLOTS]
    for i, node in enumerate(cluster.nodes):
        node.call("CLUSTER", "ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
        node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
    for node in cluster.nodes[1:]:
        port = node.call("CONFIG", "GET", "cluster-port")[1]
        cluster.nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.address.port, int(port))
    run_apart(cluster.settle())

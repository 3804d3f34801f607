"""What operators ask of an instance on a cluster."""

from __future__ import annotations

import json

from common.settings import Settings
from tests.cluster import Cluster
from tests.e2e.commands import run
from tests.stage import stage
from tools.status.collect import collect


async def test_status_shows_each_primary_and_which_is_away(clustered: Settings, whole: Cluster) -> None:
    """The others' figures are there all the same."""
    async with stage(clustered) as scene:
        await scene.conversation(messages=3)
        status = await collect(clustered, "http://127.0.0.1:1")
        assert status.redis is not None
        assert [node.away for node in status.redis.nodes] == [None] * 3
        assert status.redis.keys == sum(node.keys or 0 for node in status.redis.nodes)
        assert sum(p.events for p in status.redis.partitions) == 4
        whole.nodes[1].kill()
        status = await collect(clustered, "http://127.0.0.1:1")
        assert status.redis is not None
        away = [node.name for node in status.redis.nodes if node.away]
        assert away == [f"Redis at {whole.nodes[1].address}"]
        assert len(status.redis.partitions) == 4
        assert any(str(whole.nodes[1].address) in problem for problem in status.problems)


def test_a_command_that_is_not_told_that_it_is_a_cluster_says_so(clustered: Settings) -> None:
    """In one line, whichever node was named."""
    own = {"REDIS_URL": clustered.redis.dsn, "DATABASE_URL": clustered.postgres.dsn}
    for command in (("drain",), ("dead", "list"), ("verify",)):
        refused = run(*command, environment={**own, "REDIS_CLUSTER": "false"})
        assert refused.returncode != 0
        [line] = refused.stderr.strip().splitlines()
        assert "set REDIS_CLUSTER=true" in line
    drained = run("drain", "--json", environment={**own, "REDIS_CLUSTER": "true"})
    assert json.loads(drained.stdout)["drained"], drained.stderr

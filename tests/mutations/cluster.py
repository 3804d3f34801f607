"""What makes a Redis cluster as safe as one server."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

CLIENT_PY: Final = "common/redis/cluster.py"
ROUTING: Final = "tests/integration/cluster/test_routing.py::"
CLIENT: Final = "tests/integration/cluster/test_client.py::"
OUTAGE: Final = "tests/integration/cluster/test_outage.py::"
GATEWAYS: Final = "tests/integration/cluster/test_gateways.py::"

MUTATIONS: Final = (
    Mutation(
        "cluster: a command has no rule",
        "common/redis/routing.py",
        '"XREVRANGE", ',
        "",
        ROUTING + "test_every_command_in_the_source_has_a_rule",
    ),
    Mutation(
        "cluster: MOVED is an error like others",
        CLIENT_PY,
        "        elif isinstance(failure, AskError):\n",
        "        elif False:\n",
        ROUTING + "test_a_command_that_comes_to_the_wrong_node_is_answered_by_the_right_one",
    ),
    Mutation(
        "cluster: ASK leads to the owner of before",
        CLIENT_PY,
        "        if not isinstance(said, MovedError):\n",
        "        if False:\n",
        CLIENT + "test_while_a_slot_moves_key_by_key_no_function_begins",
    ),
    Mutation(
        "cluster: functions run while their slot moves",
        "common/redis/functions.py",
        "        if self.client.clustered:\n",
        "        if False:\n",
        CLIENT + "test_while_a_slot_moves_key_by_key_no_function_begins",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "cluster: a node is taken for the whole log",
        "common/redis/runs.py",
        "    if not clustered:\n        return Served(",
        "    if True:\n        return Served(",
        OUTAGE + "test_a_node_that_lost_its_data_is_made_good_and_the_others_are_left_alone",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "cluster: a mistaken kind of server is used",
        "common/redis/info.py",
        "    if is_node(facts) == clustered:\n",
        "    if True:\n",
        CLIENT + "test_each_way_to_call_it_what_it_is_not_is_one_line",
    ),
    Mutation(
        "cluster: the persister waits for a primary that is away",
        "services/persister/late.py",
        "await asyncio.wait(tasks, timeout=self._patience)",
        "await asyncio.wait(tasks)",
        "tests/unit/test_late.py::test_one_that_takes_long_is_not_waited_for",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "cluster: one primary away makes the record take over",
        "common/authority/session.py",
        "        return await self._answers(self._watermark.probe_any)\n",
        "        return await self._answers(self._watermark.probe_all)\n",
        GATEWAYS + "test_without_one_primary_the_others_users_notice_nothing",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "cluster: the log has the say again while a primary is away",
        "common/authority/session.py",
        "        return await self._answers(self._watermark.probe_all)\n",
        "        return await self._answers(self._watermark.probe_any)\n",
        GATEWAYS + "test_without_any_primary_the_record_has_the_say",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "cluster: a gateway is ready with all primaries only",
        "common/redis/functions.py",
        "        if len(away) < len(failures) or len(away) == len(nodes):\n",
        "        if failures:\n",
        GATEWAYS + "test_without_one_primary_the_others_users_notice_nothing",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "cluster: who waits for the map waits for ever when the client is closed",
        CLIENT_PY,
        "        if answer is not None and task.cancelled():\n",
        "        if False:\n",
        CLIENT + "test_a_client_that_is_closed_leaves_nobody_waiting",
    ),
    Mutation(
        "cluster: what was under way when the client was closed counts as not done",
        "common/redis/client.py",
        "        await self._drop(LogUnavailable(closed, outcome_unknown=True))\n",
        "        await self._drop(LogUnavailable(closed))\n",
        "tests/integration/test_redis_client.py::test_a_closed_client_refuses",
        of=(Promise.KILL,),
    ),
    Mutation(
        "cluster: a part of the map is taken for the whole",
        CLIENT_PY,
        "            if found.served == SLOTS:\n",
        "            if found.ranges:\n",
        CLIENT + "test_a_part_of_the_map_is_not_taken_for_the_whole",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "cluster: the log comes back into use with the caches of nodes that were not seen",
        "common/inspection.py",
        "        if len(seen) < self._keys.partitions:\n",
        "        if False:\n",
        CLIENT + "test_a_part_of_the_map_is_not_taken_for_the_whole",
        of=(Promise.AWAY,),
    ),
)

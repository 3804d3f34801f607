"""What the checker would miss: a look is taken out of it, and a planted violation passes; and the other way
round, a defence of the system is taken out, and the workload on a system without faults notices."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise

PLANTED: Final = "tests/unit/chaos/test_checker.py::"
ONE: Final = PLANTED + "test_a_planted_violation_is_found_and_nothing_else"
WORKLOAD: Final = "tests/integration/test_chaos_workload.py::test_a_system_without_faults_breaks_no_promise"

MUTATIONS: Final = (
    Mutation(
        "checker: what was only seen may vanish",
        "tests/chaos/checker.py",
        "        story.numbers[tag] = number\n",
        "        if self.facts.sent[tag].acknowledged:\n            story.numbers[tag] = number\n",
        ONE + "[lost_after_it_was_only_seen]",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "checker: a delete that nobody was told of is never known",
        "tests/chaos/checker.py",
        "        if gone and known and story.may_be_deleted(operation.completed_ns):\n",
        "        if False:\n",
        ONE + "[undecided_delete]",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "checker: the order of real time is not compared with the numbers",
        "tests/chaos/sightings.py",
        "        if sent is not None and number <= sent.floor:\n",
        "        if False:\n",
        ONE + "[against_real_time]",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "checker: claims what overlapping calls do not prove",
        "tests/chaos/checker.py",
        "    moments += [(operation.completed_ns, True, i) for i, operation in enumerate(operations)]\n",
        "    moments += [(operation.invoked_ns, True, i) for i, operation in enumerate(operations)]\n",
        PLANTED + "test_overlapping_calls_may_have_happened_in_either_order",
    ),
    Mutation(
        "workload: an append does not reach the cached list",
        "common/redis/lua/append.lua",
        "    length = redis.call('RPUSHX', k.messages, unpack(messages))\n",
        "    length = 0\n",
        WORKLOAD,
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "workload: a change does not reach the user's cached list",
        "common/redis/lua/update.lua",
        "  show_in_user_list(k, c, h)\n",
        "",
        WORKLOAD,
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "workload: a message that is there is appended again",
        "common/redis/lua/append.lua",
        "    if record then\n",
        "    if false then\n",
        WORKLOAD,
        of=(Promise.ONE_ROW,),
    ),
)

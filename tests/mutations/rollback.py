"""The defences against a Redis that comes back older than PostgreSQL."""

from typing import Final

from tests.mutations.mutation import Mutation

ROLLBACK: Final = "tests/integration/test_rollback.py::"
INSPECT: Final = "common/redis/lua/inspect.lua"

MUTATIONS: Final = (
    Mutation(
        "roll-back: a new connection is used without being admitted",
        "common/redis/client.py",
        "            if self._admit is not None:\n",
        "            if False:\n",
        ROLLBACK + "test_nothing_older_than_postgresql_is_read_or_numbered_from",
    ),
    Mutation(
        "roll-back: caches are kept",
        "common/rollback.py",
        "            dropped += await runs.drop(run, partition, names)\n",
        "            pass\n",
        ROLLBACK + "test_nothing_older_than_postgresql_is_read_or_numbered_from",
    ),
    Mutation(
        "roll-back: where the log ended is not compared with PostgreSQL",
        "common/inspection.py",
        "            if position_order(await runs.last_position(partition)) < position_order(position)\n",
        "            if not position_order(position)\n",
        ROLLBACK + "test_an_append_may_be_the_first_to_come",
    ),
    Mutation(
        "roll-back: positions may be given twice",
        INSPECT,
        "    redis.call('XSETID', keys[2], args[2])\n",
        "",
        ROLLBACK + "test_a_log_goes_on_after_what_postgresql_has_whatever_the_clock_says",
    ),
    Mutation(
        "roll-back: headers of what is pending are not loaded again",
        "common/rollback.py",
        "            await rebuilder.absent(user, conversation)\n",
        "            pass\n",
        ROLLBACK + "test_what_was_pending_and_came_back_is_still_there",
    ),
    Mutation(
        "roll-back: a position without its entry stays pending",
        INSPECT,
        "      redis.call('LREM', keys[3], 1, position)\n",
        "",
        ROLLBACK + "test_what_was_pending_and_came_back_is_still_there",
    ),
    Mutation(
        "roll-back: an inspector who was held up goes on",
        INSPECT,
        "  if redis.call('HGET', keys[1], 'run_id') == args[1] then\n    return -1\n  end\n",
        "",
        ROLLBACK + "test_an_inspector_who_comes_late_takes_nothing_away",
    ),
    Mutation(
        "roll-back: counted by everyone who inspects",
        INSPECT,
        "  if redis.call('HGET', keys[1], 'run_id') == args[1] then\n    return ''\n  end\n",
        "",
        ROLLBACK + "test_a_run_is_stamped_once",
    ),
    Mutation(
        "fail-over: a demoted server's connection is kept",
        "common/redis/client.py",
        "                    if self._admit is not None and isinstance(error, ReadOnlyError):\n",
        "                    if False:\n",
        ROLLBACK + "test_a_demoted_server_is_left",
    ),
    Mutation(
        "restart: the policy is not looked at again",
        "common/inspection.py",
        "            await check_policy(client)\n",
        "",
        ROLLBACK + "test_a_policy_that_may_evict_the_log_is_seen_at_every_restart",
    ),
)

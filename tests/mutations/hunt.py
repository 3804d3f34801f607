"""What the second hunt mended: letters that were dropped, deletions that were decided against."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise

LOST: Final = "tests/integration/test_verify_lost.py::"
DROPPED: Final = LOST + "test_a_letter_that_was_dropped_is_not_stored_by_a_repair_or_a_replay"
LUA: Final = "common/redis/lua/group.lua"

MUTATIONS: Final = (
    Mutation(
        "hunt: dropping leaves no trace",
        LUA,
        "  void(keys[1], found[2])\n  redis.call('XDEL', keys[2], args[1])\n  if keys[3] and",
        "  redis.call('XDEL', keys[2], args[1])\n  if keys[3] and",
        DROPPED,
        of=(Promise.DELETE, Promise.POISON),
    ),
    Mutation(
        "hunt: verify takes a dropped event for lost",
        "tools/verify/log.py",
        "            dead |= await self._parked.void(partition, first, last)\n",
        "            _ = first, last\n",
        DROPPED,
        of=(Promise.POISON,),
    ),
    Mutation(
        "hunt: a replay brings a dropped event back",
        "tools/replay/from_log.py",
        "if item is not None and item.position not in void]",
        "if item is not None]",
        DROPPED,
        of=(Promise.DELETE, Promise.POISON),
    ),
    Mutation(
        "hunt: what was dropped is remembered for ever",
        LUA,
        "  redis.call('ZREMRANGEBYSCORE', beside(keys[1], 'void'), '-inf', until_ms)\n",
        "",
        DROPPED,
        of=(Promise.POISON,),
    ),
    Mutation(
        "hunt: requeueing leaves no trace",
        LUA,
        "  void(keys[1], found[2])\n  redis.call('XDEL', keys[2], args[1])\n  if not keys[3] then",
        "  redis.call('XDEL', keys[2], args[1])\n  if not keys[3] then",
        LOST + "test_a_letter_that_was_requeued_is_not_lost_where_it_was_first",
        of=(Promise.ONE_ROW, Promise.POISON),
    ),
    Mutation(
        "hunt: the tombstone of a dropped deletion stays",
        LUA,
        "      forget_conversation(keys[3], keys[5])\n    end\n  end\n  return 1",
        "    end\n  end\n  return 1",
        LOST + "test_a_deletion_that_was_dropped_never_happened",
        of=(Promise.POISON,),
    ),
)

"""The defences that the nemesis found wanting."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

MUTATIONS: Final = (
    Mutation(
        "a reset while Redis is greeted: uvloop's error is nobody's",
        "common/redis/client.py",
        "CONNECTION_FAILURES: Final = (RedisError, OSError, TimeoutError, RuntimeError)",
        "CONNECTION_FAILURES: Final = (RedisError, OSError, TimeoutError)",
        "tests/integration/test_redis_client.py::"
        "test_a_connection_that_is_reset_while_it_is_greeted_fails_its_callers",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "the gateway's ear: uvloop's error ends it for good",
        "common/redis/misses.py",
        "            except CONNECTION_FAILURES as error:\n",
        "            except OSError as error:\n",
        "tests/integration/test_cache_builder.py::"
        "test_a_gateway_listens_again_whatever_its_connection_died_of",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "read vs delete: pending events without the rows that are gone",
        "common/history.py",
        "        await self._refuse_torn(user, conversation)\n        added = (",
        "        added = (",
        "tests/races/test_rebuild_races.py::test_a_read_that_a_delete_overtakes_is_never_a_part",
        of=(Promise.DELETE, Promise.REBUILD, Trap.REBUILD_DELETE),
    ),
)

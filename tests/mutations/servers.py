"""What makes Turnlog the same on the servers of two generations."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

STATUS: Final = "tests/integration/test_status.py::"
PERSISTER: Final = "tests/integration/test_persister.py::"

MUTATIONS: Final = (
    Mutation(
        "servers: a persister does not say that it lives",
        "common/redis/heartbeats.py",
        "                await self.beat(service, name)\n",
        "                pass\n",
        STATUS + "test_a_persister_that_reads_is_up",
    ),
    Mutation(
        "servers: the cache builder does not say that it lives",
        "services/cache_builder/__main__.py",
        "            serving.append(tasks.create_task(beating))\n",
        "            beating.close()\n",
        STATUS + "test_a_cache_builder_that_waits_is_up",
    ),
    Mutation(
        "servers: a consumer is forgotten with what it holds",
        "common/redis/lua/group.lua",
        "    if fields['pending'] == 0 and fields['idle']",
        "    if fields['idle']",
        PERSISTER + "test_a_consumer_that_is_forgotten_while_it_waits_gets_what_comes",
        of=(Promise.KILL, Trap.CLAIMED, Trap.BLOCK),
    ),
)

"""The defences against more than can be taken."""

from typing import Final

from tests.mutations.mutation import Mutation

PRESSURE: Final = "tests/integration/test_pressure.py::"
OVERLOAD: Final = "tests/integration/gateway/test_overload.py::"
LUA: Final = "common/redis/lua/pressure.lua"

MUTATIONS: Final = (
    Mutation(
        "pressure: an append is not asked about",
        "common/redis/lua/append.lua",
        "    busy = not absent and overloaded(k.events)\n",
        "    busy = nil\n",
        PRESSURE + "test_too_many_events_are_refused_until_most_are_committed",
    ),
    Mutation(
        "pressure: an append to a new conversation is not asked about",
        "common/redis/lua/append.lua",
        "  local busy = absent and overloaded(k.events)\n",
        "  local busy = nil\n",
        PRESSURE + "test_every_other_change_is_refused",
    ),
    Mutation(
        "pressure: a creation is not asked about",
        "common/redis/lua/create.lua",
        "    local busy = overloaded(k.events)\n",
        "    local busy = nil\n",
        PRESSURE + "test_every_other_change_is_refused",
    ),
    Mutation(
        "pressure: an update is not asked about",
        "common/redis/lua/update.lua",
        "  local busy = overloaded(k.events)\n",
        "  local busy = nil\n",
        PRESSURE + "test_every_other_change_is_refused",
    ),
    Mutation(
        "pressure: a logged query is not asked about",
        "common/redis/lua/log_query.lua",
        "  local busy = overloaded(keys[1])\n",
        "  local busy = nil\n",
        PRESSURE + "test_every_other_change_is_refused",
    ),
    Mutation(
        "pressure: no hysteresis",
        LUA,
        "  local reason = over_bound(gauges, refused and LOW or 1)\n",
        "  local reason = over_bound(gauges, 1)\n",
        PRESSURE + "test_too_many_events_are_refused_until_most_are_committed",
    ),
    Mutation(
        "pressure: bytes are not counted",
        "common/redis/lua/shared.lua",
        "  count_volume(k.events, position, fields)\n",
        "",
        PRESSURE + "test_too_many_bytes_are_refused",
    ),
    Mutation(
        "pressure: bytes that are committed count still",
        LUA,
        "    if from and tonumber(flat[i]) >= from then\n",
        "    if true then\n",
        PRESSURE + "test_too_many_bytes_are_refused",
    ),
    Mutation(
        "pressure: no age",
        LUA,
        "    { 'age', age, bounds.max_age }, { 'memory', used, max_memory },\n",
        "    { 'age', age, 0 }, { 'memory', used, max_memory },\n",
        PRESSURE + "test_an_event_that_waits_too_long_stops_the_others",
    ),
    Mutation(
        "pressure: no bound on memory",
        LUA,
        "    { 'age', age, bounds.max_age }, { 'memory', used, max_memory },\n",
        "    { 'age', age, bounds.max_age }, { 'memory', used, 0 },\n",
        PRESSURE + "test_a_server_short_of_memory_takes_no_more",
    ),
    Mutation(
        "pressure: a server that evicts is refused for being full",
        LUA,
        "  if max == 0 and keeps then\n",
        "  if max == 0 then\n",
        PRESSURE + "test_a_server_that_evicts_may_be_full",
    ),
    Mutation(
        "pressure: short of memory, events are kept for replay all the same",
        "common/redis/lua/group.lua",
        "  if before(args[2], floor) and not short_of_memory(keys[1]) then\n",
        "  if before(args[2], floor) then\n",
        PRESSURE + "test_where_memory_is_short_nothing_is_kept_for_replay",
    ),
    Mutation(
        "pressure: bounds are set at the start alone",
        "common/redis/pressure.py",
        "                await self.set_bounds()\n",
        "                if not self._refusing:\n                    await self.set_bounds()\n",
        PRESSURE + "test_the_bounds_come_back_with_a_redis_that_was_emptied",
    ),
    Mutation(
        "pressure: the caller is not told what is the matter",
        "services/gateway/problems.py",
        "str(error) if isinstance(error, Overloaded) else ",
        "",
        OVERLOAD + "test_a_backlog_over_its_bound_is_a_503_that_says_so",
    ),
    Mutation(
        "bounds: any number of requests in progress",
        "services/gateway/admission.py",
        "            if self.requests >= self._max_requests:\n",
        "            if False:\n",
        OVERLOAD + "test_more_requests_than_a_worker_takes_on_are_refused",
    ),
    Mutation(
        "bounds: any number of bytes in progress",
        "services/gateway/admission.py",
        "            if self.body_bytes and self.body_bytes + size > self._max_body_bytes:\n",
        "            if False:\n",
        OVERLOAD + "test_more_bytes_of_bodies_than_a_worker_holds_are_refused",
    ),
    Mutation(
        "bounds: any number of commands for Redis",
        "common/redis/client.py",
        "        if len(self._queued) + len(self._in_flight) >= MAX_WAITING:\n",
        "        if False:\n",
        "tests/integration/test_redis_client.py::test_more_commands_than_are_good_for_it_are_refused",
    ),
    Mutation(
        "bounds: any number of loads",
        "common/singleflight.py",
        "            if len(self._running) >= self._max_running:\n",
        "            if False:\n",
        "tests/unit/test_singleflight.py::test_more_pieces_of_work_than_are_good_are_refused",
    ),
    Mutation(
        "bounds: any number of reads of PostgreSQL",
        "common/postgres/store.py",
        "        if len(self._running) >= MAX_UNDER_WAY:\n",
        "        if False:\n",
        "tests/integration/test_store.py::test_a_read_has_a_deadline_and_is_one_of_so_many",
    ),
    Mutation(
        "bounds: no deadline for a read",
        "services/gateway/app.py",
        '    if described.method == "GET" and read_seconds is not None:\n',
        "    if False:\n",
        "tests/unit/gateway/test_app.py::test_a_read_has_one_deadline",
    ),
    Mutation(
        "bounds: what nobody waits for any more is built",
        "services/cache_builder/builder.py",
        "                if asyncio.get_running_loop().time() > miss.until:\n",
        "                if False:\n",
        "tests/integration/test_cache_builder.py::test_what_nobody_waits_for_any_more_is_not_built",
    ),
    Mutation(
        "durability: a server that syncs once a second is not warned of",
        "common/redis/durability.py",
        '    if fsync == "always":\n',
        "    if True:\n",
        "tests/integration/test_redis_server.py::test_a_server_that_may_lose_messages_is_warned_of",
    ),
)

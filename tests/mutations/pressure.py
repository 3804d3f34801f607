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
)

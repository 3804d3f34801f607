"""The defences of `turnlog verify`."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise

RACES: Final = "tests/races/test_verify_races.py::"
FINDS: Final = "tests/integration/test_verify.py::"
LOST: Final = "tests/integration/test_verify_lost.py::"
COMMAND: Final = "tests/integration/test_verify_command.py::"
CHECK: Final = "tools/verify/conversation.py"
LUA: Final = "common/redis/lua/verify.lua"

MUTATIONS: Final = (
    Mutation(
        "verify: what looks wrong is believed at the first look",
        CHECK,
        "if not found or not look.moved(await self._cache.look(user, conversation)):",
        "if True:",
        RACES + "test_a_change_that_is_committed_between_the_two_looks_is_no_drift",
    ),
    Mutation(
        "verify: a user's list is believed at the first look",
        "tools/verify/user.py",
        "if not found or look == await self._cache.look_user(user):",
        "if True:",
        RACES + "test_a_list_that_changes_between_the_two_looks_is_no_drift",
    ),
    Mutation(
        "verify: what is pending is not laid over the record",
        CHECK,
        "expected = expect(record, look.events, newest)",
        "expected = expect(record, [], newest)",
        LOST + "test_what_is_only_in_redis_and_waits_is_no_drift",
    ),
    Mutation(
        "verify: a gap whose event is pending is drift",
        "tools/verify/compare.py",
        "if n not in bodies and n not in self.gone]",
        "if n not in self.gone]",
        RACES + "test_events_that_are_committed_out_of_order_are_no_drift",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "verify: what is parked is lost",
        "tools/verify/log.py",
        "            lost = [item for item in lost if item.entry.entry.position not in dead]\n",
        "",
        LOST + "test_a_parked_event_is_not_lost",
        of=(Promise.POISON,),
    ),
    Mutation(
        "verify: a header is set although something has happened since",
        LUA,
        "    if (now[i] or '') ~= args[i] then\n",
        "    if false then\n",
        RACES + "test_a_header_is_not_put_right_by_what_is_no_longer_so",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "verify: a repair lowers a counter",
        LUA,
        "    if counter and counter > tonumber(values[field]) then\n",
        "    if false then\n",
        RACES + "test_a_counter_never_goes_down",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "verify: numbers that Redis gave are not kept from being given again",
        "tools/verify/mending.py",
        "    return Raised(header.next_sequence_number, header.version, header.epoch)\n",
        "    return Raised()\n",
        LOST + "test_numbers_that_redis_gave_are_never_given_again",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "verify: a pending position is taken off that nobody has settled",
        LUA,
        "    if state == 'gone' or state == 'settled' then\n",
        "    if state then\n",
        RACES + "test_an_event_that_is_still_held_is_not_taken_off_its_pending_list",
        of=(Promise.KILL,),
    ),
    Mutation(
        "verify: an acknowledged event is settled without being recorded",
        "tools/verify/mending.py",
        "[*settled_events(evidence), ",
        "[",
        LOST + "test_what_a_pending_list_still_names_is_stored_before_it_is_taken_off",
        of=(Promise.KILL,),
    ),
    Mutation(
        "verify: a lost event is left where it is",
        "tools/verify/log.py",
        "found += [item.finding(Kind.LOG_LOST) for item in lost]",
        "lost = []",
        LOST + "test_an_event_that_was_settled_and_never_stored_is_stored",
        of=(Promise.KILL,),
    ),
    Mutation(
        "verify: the only copy of a message is dropped with its list",
        "tools/verify/mending.py",
        ", *events_of_list(evidence)]",
        "]",
        LOST + "test_a_row_that_was_lost_comes_back_from_the_log_or_from_the_cache",
        of=(Promise.KILL,),
    ),
    Mutation(
        "verify: the record brings back what Redis knows to be deleted",
        "tools/verify/salvage.py",
        "        return [(_NOWHERE, ConversationDeleted(**about))]\n",
        "        return []\n",
        LOST + "test_a_delete_that_was_lost_is_final",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "verify: Redis is compared while PostgreSQL has the say",
        "tools/verify/command.py",
        "            if not await parts.record.log_has_the_say():\n",
        "            if False:\n",
        COMMAND + "test_it_does_not_run_while_postgresql_has_the_say",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "verify: a checkpoint that is only written at the end",
        "tools/verify/run.py",
        "        self._checkpoint.save(now=now)\n",
        "        if now:\n            self._checkpoint.save(now=now)\n",
        COMMAND + "test_a_run_that_was_killed_goes_on",
    ),
)

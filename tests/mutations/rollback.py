"""The defences against a Redis that comes back older than PostgreSQL."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

COLLISIONS: Final = "tests/properties/test_writer_collisions.py::"
BOTH_KEPT: Final = COLLISIONS + "test_what_comes_second_gets_a_number_and_is_known_by_its_id"
PLACES: Final = "common/postgres/places.py"
GROUP: Final = "common/redis/lua/group.lua"
ROLLBACK: Final = "tests/integration/test_rollback.py::"
INSPECT: Final = "common/redis/lua/inspect.lua"
AGAIN: Final = "tests/integration/test_renumbered_again.py::"
IN_PLACE: Final = AGAIN + "test_what_was_committed_and_moved_is_shown_where_it_stands"
HEADLESS: Final = AGAIN + "test_a_list_is_not_without_what_is_pending_of_a_conversation_that_moved"

MUTATIONS: Final = (
    Mutation(
        "roll-back: a new connection is used without being admitted",
        "common/redis/client.py",
        "            if self._admit is not None:\n",
        "            if False:\n",
        ROLLBACK + "test_nothing_older_than_postgresql_is_read_or_numbered_from",
        of=(Promise.ONE_ORDER, Promise.AWAY, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: caches are kept",
        "common/rollback.py",
        "            gone = await runs.drop(partition, names)\n",
        "            gone = 0\n",
        ROLLBACK + "test_nothing_older_than_postgresql_is_read_or_numbered_from",
        of=(Promise.ONE_ORDER, Promise.AWAY, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: where the log ended is not compared with PostgreSQL",
        "common/inspection.py",
        "            if position_order(await runs.last_position(partition)) < position_order(position)\n",
        "            if not position_order(position)\n",
        ROLLBACK + "test_an_append_may_be_the_first_to_come",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: positions may be given twice",
        INSPECT,
        "    redis.call('XSETID', keys[2], args[2])\n",
        "",
        ROLLBACK + "test_a_log_goes_on_after_what_postgresql_has_whatever_the_clock_says",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: a position without its entry stays pending",
        INSPECT,
        "      redis.call('LREM', keys[3], 1, position)\n",
        "",
        ROLLBACK + "test_what_was_pending_and_came_back_is_still_there",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: an inspector who was held up goes on",
        INSPECT,
        "if redis.call('HGET', keys[1], 'run_id') == args[1] or not is_run(args[1]) then\n    return -1",
        "if not is_run(args[1]) then\n    return -1",
        ROLLBACK + "test_an_inspector_who_comes_late_takes_nothing_away",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: an inspector of an earlier run takes caches of this one away",
        INSPECT,
        " or not is_run(args[1]) then\n    return -1",
        " then\n    return -1",
        ROLLBACK + "test_an_inspector_of_an_earlier_run_changes_nothing",
        of=(Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: an inspector of an earlier run stamps this one",
        INSPECT,
        "  if not is_run(args[1]) then\n    return false\n  end\n",
        "",
        ROLLBACK + "test_an_inspector_of_an_earlier_run_changes_nothing",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: what is pending once more hides what the record has, and is there twice",
        "common/domain/overlay.py",
        "            elif known.elsewhere:\n",
        "            elif False:\n",
        IN_PLACE,
        of=(Promise.ONE_ORDER, Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: a list from before is shown by a Redis that is not behind",
        "common/rollback.py",
        "        if await runs.forget(*names):\n",
        "        if False:\n",
        AGAIN + "test_a_list_from_before_a_message_moved_is_not_shown_again",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: a user's list is without what is pending of a conversation that has no header",
        "common/rebuild.py",
        "        for conversation in pending.headless:\n",
        "        for conversation in ():\n",
        HEADLESS,
        of=(Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: what is pending with a version that the record has does not count",
        "common/rebuild.py",
        ", all_lacking=True)",
        ")",
        HEADLESS,
        of=(Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: a repeated append is answered with whatever stands at its first number",
        "common/publisher.py",
        "        if not others:\n            return {}\n",
        "        if True:\n            return {}\n",
        AGAIN + "test_an_append_that_is_repeated_is_answered_with_its_own_message",
        of=(Promise.ONE_ROW, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: what an emptied log lost is not noticed when it is committed",
        GROUP,
        "  if trimmed and before(position, trimmed) then\n",
        "  if not before(last_position(events), position) then\n",
        AGAIN + "test_what_an_emptied_redis_lost_is_noticed_in_whatever_order_it_is_committed",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "roll-back: counted by everyone who inspects",
        INSPECT,
        "  if redis.call('HGET', keys[1], 'run_id') == args[1] then\n    return ''\n  end\n",
        "",
        ROLLBACK + "test_a_run_is_stamped_once",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "fail-over: a demoted server's connection is kept",
        "common/redis/client.py",
        "                    if self._admit is not None and isinstance(error, ReadOnlyError):\n",
        "                    if False:\n",
        ROLLBACK + "test_a_demoted_server_is_left",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "restart: the policy is not looked at again",
        "common/inspection.py",
        "            await check_policy(node, clustered=client.clustered)\n",
        "",
        ROLLBACK + "test_a_policy_that_may_evict_the_log_is_seen_at_every_restart",
        of=(Promise.KILL,),
    ),
    Mutation(
        "collision: the message that comes second is taken for stored",
        PLACES,
        '            elif claim.contested or facts["taken"]:\n',
        "            elif False:\n",
        BOTH_KEPT,
        of=(Promise.ONE_ROW, Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: a new number is not remembered",
        PLACES,
        '        if rows:\n            await connection.fetch(statement("add_renumbered")',
        '        if not rows:\n            await connection.fetch(statement("add_renumbered")',
        COLLISIONS + "test_a_message_that_was_moved_and_deleted_does_not_come_back",
        of=(Promise.DELETE, Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: new numbers begin where those of the batch end, not those of the record",
        PLACES,
        "max(self._next_numbers[change.key], change.next_sequence_number)",
        "change.next_sequence_number",
        COLLISIONS + "test_a_late_message_comes_after_all_that_the_record_has",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: an edit goes by the number",
        "common/postgres/queries/write.sql",
        "    AND m.id = n.id AND m.version < n.version\n",
        "    AND m.sequence_number = 2 AND m.version < n.version\n",
        BOTH_KEPT,
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: a removal goes by the number",
        PLACES,
        "            self.of_removed[change.key, message_id] = place\n",
        "            self.of_removed[change.key, message_id] = number\n",
        BOTH_KEPT,
        of=(Promise.DELETE, Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: the tombstone of one message counts for another with its number",
        "common/postgres/queries/write.sql",
        " AND t.message_id <> n.id\n",
        " AND false\n",
        COLLISIONS + "test_the_number_of_a_message_that_was_deleted_is_not_its_successor_s_end",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: Redis goes on showing the old number",
        GROUP,
        "    if args[argument + 2] == '1' or (",
        "    if (",
        ROLLBACK + "test_a_number_that_was_given_again_is_given_up",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
    Mutation(
        "collision: an event that was lost from the log and committed is not noticed",
        GROUP,
        "(unknown[position] and was_lost(keys[1], args[1], position))",
        "false",
        ROLLBACK + "test_what_was_on_its_way_when_redis_lost_it_is_kept",
        of=(Promise.KILL, Trap.OLDER_REDIS),
    ),
    Mutation(
        "renumbered: one that is gone hides the one that has its number",
        "common/domain/overlay.py",
        "                if not known.taken:\n",
        "                if True:\n",
        "tests/integration/test_removed_messages.py::"
        "test_a_removed_message_that_is_pending_once_more_hides_nobody_else",
        of=(Promise.ONE_ORDER, Trap.OLDER_REDIS),
    ),
)

"""The defences of edits, deletions and truncations of messages."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

REMOVED: Final = "tests/integration/test_removed_messages.py::"
OVERLAY: Final = "tests/unit/test_overlay.py::"
RACES: Final = "tests/races/test_edit_races.py::"
HTTP: Final = "tests/integration/gateway/test_message_changes.py::"
LUA: Final = "common/redis/lua/messages.lua"

MUTATIONS: Final = (
    Mutation(
        "removed messages: an id that went with a truncation may be appended again",
        "common/postgres/queries/write.sql",
        """) AND NOT EXISTS (
    SELECT FROM removed_messages AS g
    WHERE g.user_id = n.user_id AND g.conversation_id = n.conversation_id AND g.id = n.id
)
ON CONFLICT""",
        """)
ON CONFLICT""",
        REMOVED + "test_a_removed_message_does_not_come_back_under_another_number",
        of=(Promise.DELETE, Trap.REDELIVERY),
    ),
    Mutation(
        "removed messages: one that comes after its removal is not remembered",
        "common/postgres/writer.py",
        "    rows |= places.late\n",
        "",
        REMOVED + "test_a_removed_message_does_not_come_back_under_another_number",
        of=(Promise.DELETE, Trap.REDELIVERY),
    ),
    Mutation(
        "pending beside the record: a deletion that is settled before the append is not seen",
        "common/domain/overlay.py",
        "            if known.gone:\n",
        "            if known.gone and False:\n",
        OVERLAY + "test_a_pending_event_is_no_newer_than_what_came_after_it",
        of=(Promise.DELETE, Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "pending beside the record: an edit that is settled before the append is not seen",
        "common/domain/overlay.py",
        "known.version > self.versions.get(number, 0)",
        "False",
        OVERLAY + "test_a_pending_event_is_no_newer_than_what_came_after_it",
        of=(Promise.DELETE, Promise.READ_YOUR_WRITES, Trap.OLDER_REDIS),
    ),
    Mutation(
        "change vs rebuild: the token of a rebuild that read what was before stays",
        LUA,
        "  redis.call('DEL', k.rebuild)\n",
        "",
        RACES + "test_a_change_during_a_rebuild_is_not_lost",
        of=(Promise.READ_YOUR_WRITES, Promise.REBUILD, Promise.DELETE, Trap.REBUILD_DELETE),
    ),
    Mutation(
        "change vs append: no compare-and-set on the version that was seen",
        LUA,
        "  if int(h.version) ~= args[7] then\n    return nil, { 'moved' }\n  end\n",
        "",
        RACES + "test_a_change_that_was_worked_out_before_an_append_is_worked_out_again",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "edit: the cached list keeps the old body",
        LUA,
        "      redis.call('LSET', k.messages, place, served(tonumber(args[12]), args[14]))\n",
        "",
        RACES + "test_a_change_is_seen_at_once",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "edit: an append that comes again is compared with what the message was",
        LUA,
        "    if record then\n",
        "    if record and false then\n",
        HTTP + "test_an_append_is_compared_with_what_the_message_is_by_now",
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "repeat: what a deletion took away since is taken for another message",
        "common/publisher.py",
        "if missing and missing == unseen:",
        "if missing:",
        "tests/races/test_repeat_races.py",
        of=(Promise.ONE_ROW, Promise.DELETE),
    ),
    Mutation(
        "delete: the cached list keeps the message",
        LUA,
        "    redis.call('LREM', k.messages, 1, message)\n",
        "",
        RACES + "test_a_change_is_seen_at_once",
        of=(Promise.READ_YOUR_WRITES, Promise.DELETE),
    ),
    Mutation(
        "delete: Redis forgets that the id is a deleted message's",
        LUA,
        "  redis.call('HSET', k.header, '#' .. args[11], args[12] .. ' ' .. REMOVED .. ' -')\n",
        "",
        RACES + "test_an_append_that_comes_late_brings_nothing_back",
        of=(Promise.DELETE, Trap.REDELIVERY),
    ),
    Mutation(
        "truncate: the cached list keeps what was cut off",
        LUA,
        "      redis.call('LTRIM', k.messages, 0, kept - 1)\n",
        "",
        RACES + "test_a_change_is_seen_at_once",
        of=(Promise.READ_YOUR_WRITES, Promise.DELETE),
    ),
    Mutation(
        "truncate: Redis forgets which numbers were cut off",
        LUA,
        "    remember_cut(k.header, args[11], int(h.next))\n",
        "",
        RACES + "test_an_append_that_comes_late_brings_nothing_back",
        of=(Promise.DELETE, Trap.REDELIVERY),
    ),
    Mutation(
        "truncate: what PostgreSQL finds for an append may have been cut off since",
        "common/redis/lua/append.lua",
        "      if is_cut(cuts, args[i + 2]) then\n",
        "      if false then\n",
        RACES + "test_a_removal_of_what_redis_has_forgotten_holds_against_a_late_append",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "an append of a deleted message that only PostgreSQL knows is a new one",
        "common/publisher.py",
        "        if stored.removed:\n",
        "        if False:\n",
        RACES + "test_an_append_that_comes_late_brings_nothing_back",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "a key that was used for an edit is not looked for",
        LUA,
        "  local answer = remembered(keys[10], args[8])\n",
        "  local answer = nil\n",
        HTTP + "test_a_key_makes_an_edit_happen_once",
        of=(Promise.ONE_ROW,),
    ),
)

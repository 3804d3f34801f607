"""What holds of a persister that has fallen silent, and of how much one asks for at once."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

TAKEOVER: Final = "tests/integration/test_takeover.py::"
PAGES: Final = "tests/integration/test_persister_pages.py::"
READING: Final = "common/redis/lua/reading.lua"

MUTATIONS: Final = (
    Mutation(
        "takeover: what a silent persister holds is not let go",
        READING,
        "        for _, word in ipairs({ 'IDLE', args[2], 'JUSTID' }) do\n",
        "        for _, word in ipairs({ 'JUSTID' }) do\n",
        TAKEOVER + "test_many_entries_are_let_go_and_those_that_are_gone_from_the_log_are_told",
        of=(Promise.KILL, Trap.CLAIMED),
    ),
    Mutation(
        "takeover: nobody looks for silent persisters",
        "services/persister/__main__.py",
        "            looking = tasks.create_task(others.run())\n",
        "            looking = tasks.create_task(asyncio.sleep(0))\n",
        TAKEOVER + "test_what_a_silent_persister_holds_is_committed_by_another",
        of=(Promise.KILL, Trap.CLAIMED),
    ),
    Mutation(
        "takeover: one that lives is taken over from",
        "common/redis/heartbeats.py",
        " if seconds >= SILENT_SECONDS]",
        "]",
        TAKEOVER + "test_one_that_lives_keeps_what_it_holds",
        of=(Trap.CLAIMED,),
    ),
    Mutation(
        "takeover: nobody was heard while Redis was away, so all are taken for dead",
        "services/persister/takeover.py",
        "            self._hearing_since = None\n",
        "            pass\n",
        TAKEOVER + "test_nobody_counts_as_silent_who_could_not_be_heard",
        of=(Trap.CLAIMED,),
    ),
    Mutation(
        "takeover: a persister takes over from itself",
        "services/persister/takeover.py",
        "        return frozenset(found) - {self._consumer}\n",
        "        return frozenset(found)\n",
        TAKEOVER + "test_nobody_takes_over_from_itself",
        of=(Trap.CLAIMED,),
    ),
    Mutation(
        "takeover: entries without a payload vanish untold",
        READING,
        "        if claimed[position] then\n          held = held + 1\n        else\n",
        "        if claimed[position] then\n          held = held + 1\n        elseif false then\n",
        TAKEOVER + "test_many_entries_are_let_go_and_those_that_are_gone_from_the_log_are_told",
        of=(Trap.AUTOCLAIM,),
    ),
    Mutation(
        "takeover: one that held nothing once is never looked at again",
        "services/persister/takeover.py",
        "        self._empty_handed &= silent\n",
        "",
        TAKEOVER + "test_it_is_looked_at_until_it_holds_nothing_and_again_when_it_was_back",
        of=(Promise.KILL, Trap.CLAIMED),
    ),
    Mutation(
        "takeover: one that stands still inside a statement keeps its locks",
        "common/postgres/queries/standing.sql",
        "  AND state IN ('active', 'idle in transaction')\n",
        "  AND state = 'idle in transaction'\n",
        TAKEOVER + "test_a_session_that_stands_still_inside_a_statement_is_ended",
        of=(Promise.AWAY, Trap.CLAIMED),
    ),
    Mutation(
        "takeover: sessions of others are ended",
        "common/postgres/queries/standing.sql",
        "WHERE application_name = ANY ($1::text[])\n",
        "WHERE $1::text[] IS NOT NULL\n",
        TAKEOVER + "test_sessions_that_work_or_hold_nothing_are_not_ended",
    ),
    Mutation(
        "memory: a page is not bounded in bytes",
        READING,
        "while #page < tonumber(args[3]) and size < tonumber(args[4]) do",
        "while #page < tonumber(args[3]) do",
        PAGES + "test_a_page_is_over_its_bound_by_no_more_than_its_last_entry",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "memory: a claim is not bounded in bytes",
        READING,
        "if cursor == '0-0' or size >= tonumber(args[6]) then",
        "if cursor == '0-0' then",
        PAGES + "test_a_claim_is_bounded_like_a_read",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "memory: a reader does not ask whether entries are large",
        "services/persister/reader.py",
        "if await self._group.may_be_large(self._blocking, self._partition, after=self._last):",
        "if False:",
        PAGES + "test_a_persister_holds_no_more_than_its_bound_of_the_largest_messages",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "memory: nobody says that an event is large",
        "common/redis/lua/shared.lua",
        "  mark_large(events, position, size)\n",
        "",
        PAGES + "test_readers_are_told_of_large_entries_before_they_read_them",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "frozen Redis: a call whose reply is lost is made again on a log that is away",
        "common/publisher.py",
        "                _once_more(lost, repeatable and self._log.worth_repeating)\n"
        "                # Nothing is fresh",
        "                _once_more(lost, repeatable)\n                # Nothing is fresh",
        "tests/integration/test_publisher.py"
        "::test_a_lost_reply_is_not_asked_for_again_where_the_log_is_out_of_reach",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "frozen Redis: a session does not say that the log is away",
        "common/authority/session.py",
        "        return away is not None and self._now() - away >= self._timing.outage\n",
        "        return False\n",
        "tests/integration/authority/test_session.py::test_a_log_that_is_out_of_reach_is_not_asked_again",
        of=(Promise.AWAY,),
    ),
)

"""Who has the say, the log or the record: the defences of its moves."""

from __future__ import annotations

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

SESSION: Final = "tests/integration/authority/test_session.py::"
RECORD: Final = "tests/integration/authority/test_record_session.py::"
AFRESH: Final = "tests/integration/authority/test_start_afresh.py::"
NOTES: Final = "tests/unit/authority/test_unsettled.py::"
SESSION_PY: Final = "common/authority/session.py"
SQL: Final = "common/postgres/queries/authority.sql"
NOTES_PY: Final = "common/authority/unsettled.py"

MUTATIONS: Final = (
    Mutation(
        "authority: an answer begun before a session was forgotten is confirmed after",
        SESSION_PY,
        "        if self.id != begun_as:\n",
        "        if self.id != begun_as and False:\n",
        SESSION + "test_having_registered_anew_it_does_not_confirm_what_it_had_begun",
        of=(Promise.READ_YOUR_WRITES, Promise.AWAY),
    ),
    Mutation(
        "authority: after PostgreSQL was away nothing is confirmed",
        SESSION_PY,
        "        if self._stale:\n            async",
        "        if False:\n            async",
        SESSION + "test_a_process_that_was_stopped_while_the_record_was_away_finds_out_too",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: changes that overlap keep the say from moving",
        "common/postgres/authority.py",
        '            await connection.execute(statement("authority_stand_in_line"))\n',
        "",
        SESSION + "test_changes_that_overlap_for_ever_do_not_keep_the_say_from_moving",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: slow requests take the session's connection",
        "common/authority/opening.py",
        "AuthorityStore(own)",
        "AuthorityStore(pool)",
        "tests/integration/authority/test_opening.py",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: a message settles a conversation whose creation is on its way",
        SQL,
        "c.state_version > 0 AND (",
        "(",
        SESSION + "test_a_conversation_whose_creation_is_on_its_way_is_waited_for",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: what an earlier hand-over noted stays unsettled",
        "common/postgres/authority.py",
        '                await connection.execute(statement("authority_keep_unsettled"), session, users,'
        " conversations)\n",
        "",
        SESSION + "test_what_was_settled_since_a_hand_over_that_came_to_nothing_is_not_waited_for",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: one who is late for a return drops the caches of a log in use",
        "common/redis/lua/inspect.lua",
        "  if redis.call('HGET', keys[1], 'returned') == args[1] then\n",
        "  if false then\n",
        AFRESH + "test_one_who_is_late_for_a_return_drops_nothing_of_a_log_in_use",
        of=(Promise.AWAY, Trap.OLDER_REDIS),
    ),
    Mutation(
        "authority: the caches of an inspected run are kept",
        "common/redis/lua/inspect.lua",
        "  redis.call('HDEL', keys[1], 'run_id')\n",
        "",
        AFRESH + "test_every_cache_is_dropped_though_the_run_was_inspected",
        of=(Promise.AWAY, Promise.READ_YOUR_WRITES),
    ),
    Mutation(
        "authority: an inspection in between ends a return",
        "common/inspection.py",
        '                raise LogUnavailable("Redis was inspected while its caches were dropped")\n',
        "                pass\n",
        AFRESH + "test_an_inspection_in_between_makes_it_begin_again",
        of=(Promise.AWAY, Trap.OLDER_REDIS),
    ),
    Mutation(
        "authority: the record takes over without a process that was killed",
        SQL,
        "WHERE uses = 'log' AND handed_over IS DISTINCT FROM $1)\nRETURNING",
        "WHERE false)\nRETURNING",
        SESSION + "test_a_process_that_was_killed_keeps_the_say_with_the_log",
        of=(Promise.READ_YOUR_WRITES, Promise.AWAY),
    ),
    Mutation(
        "authority: one that reaches the log does not object",
        SESSION_PY,
        "    async def _leave_or_object(self, term: Term, registered: bool) -> None:\n"
        "        if await self._reaches_log():\n",
        "    async def _leave_or_object(self, term: Term, registered: bool) -> None:\n        if False:\n",
        SESSION + "test_one_that_reaches_the_log_keeps_it_for_all",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: what is under way on the log is not waited for",
        SESSION_PY,
        "        if not self._idle.is_set():\n",
        "        if False:\n",
        SESSION + "test_what_is_under_way_on_the_log_ends_before_the_record_takes_over",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: the log is used while the record has the say",
        SESSION_PY,
        "        if self._holder is not Holder.LOG:\n            raise ChangingOver\n",
        "",
        SESSION + "test_the_record_takes_over_when_nobody_reaches_the_log",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: the log gets the say back with its old caches",
        SESSION_PY,
        "            await self._drop_caches(moment)\n",
        "            pass\n",
        SESSION + "test_the_log_gets_the_say_back_with_empty_caches",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: what is on the log only is not noted at a hand-over",
        "common/postgres/authority.py",
        '                await connection.execute(statement("authority_note_unsettled"), session, users,'
        " conversations)\n        return bool(done)",
        "                pass\n        return bool(done)",
        SESSION + "test_an_event_that_is_on_the_log_only_is_waited_for",
        of=(Promise.READ_YOUR_WRITES, Promise.AWAY),
    ),
    Mutation(
        "authority: a proof counts for whichever conversation stands beside it",
        "common/postgres/authority.py",
        "        rows = [(*address, proof.kind, proof.value) for address, proof in proofs]\n",
        "        pairs = sorted({address for address, _ in proofs})\n"
        "        rows = [(*a, p.kind, p.value) for a, (_, p) in zip(pairs, proofs, strict=False)]\n",
        "tests/integration/authority/test_proofs.py::test_each_proof_is_of_its_own_conversation",
        of=(Promise.READ_YOUR_WRITES, Promise.AWAY),
    ),
    Mutation(
        "authority: a lost reply leaves no trail",
        "common/authority/tracking.py",
        "            if not lost.outcome_unknown:\n",
        "            if lost:\n",
        SESSION + "test_a_change_whose_reply_was_lost_is_waited_for",
        of=(Promise.READ_YOUR_WRITES, Promise.AWAY, Trap.RETRIES),
    ),
    Mutation(
        "authority: a change in the record does not hold the say",
        SQL,
        "FROM authority AS a\nFOR SHARE OF a\n",
        "FROM authority AS a\n",
        SESSION + "test_a_change_in_the_record_ends_before_the_log_has_the_say",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: the dead are forgotten before the record has followed",
        "common/authority/leftovers.py",
        "        if self._sessions and await self._watermark.has_settled(self._ends):\n",
        "        if self._sessions:\n",
        SESSION + "test_the_dead_are_forgotten_once_the_record_has_followed",
        of=(Promise.KILL, Promise.AWAY),
    ),
    Mutation(
        "authority: a process that ends does not say what it leaves",
        SESSION_PY,
        "close_session(self.id, self._unsettled.addresses())",
        "close_session(self.id, [])",
        SESSION + "test_a_process_that_ends_says_what_it_leaves_on_the_log",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: the log gets the say beside a process without one",
        SESSION_PY,
        "await self._reaches_all() and not await self._store.record_users()",
        "await self._reaches_all()",
        RECORD + "test_while_it_is_there_the_log_is_not_used",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: a process without a log starts though one holds more",
        "common/authority/record_session.py",
        "        if waiting:\n",
        "        if False:\n",
        RECORD + "test_it_does_not_start_while_the_log_holds_more_than_the_record",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: a change under way is settled by what came before it",
        NOTES_PY,
        "            if trail.flying or not trail.bounded:\n",
        "            if not trail.bounded:\n",
        NOTES + "test_a_change_that_is_under_way_counts_as_unsettled",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: a lost reply is settled before the log's end is known",
        NOTES_PY,
        "            if trail.flying or not trail.bounded:\n",
        "            if trail.flying:\n",
        NOTES + "test_a_change_whose_reply_was_lost_is_bounded_by_the_log_s_end",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "authority: a row in the record settles a lost reply",
        NOTES_PY,
        "        return [trail for trail in trails if trail.certain and not trail.flying]\n",
        "        return [trail for trail in trails if not trail.flying]\n",
        NOTES + "test_only_a_trail_without_unknowns_can_be_proven",
        of=(Promise.AWAY,),
    ),
)

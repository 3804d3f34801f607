"""What the checker would miss: a look is taken out of it, and a planted violation passes; and the other way
round, a defence of the system is taken out, and the workload on a system without faults notices."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise

PLANTED: Final = "tests/unit/chaos/test_checker.py::"
ONE: Final = PLANTED + "test_a_planted_violation_is_found_and_nothing_else"
NOT_EXCUSED: Final = "tests/unit/chaos/test_pardon.py::test_what_the_record_had_or_came_since_is_not"
EXCUSED: Final = "tests/unit/chaos/test_pardon.py::test_what_only_the_log_had_is_excused"
LOSSES: Final = "tests/integration/test_chaos_losses.py::"
WORKLOAD: Final = "tests/integration/test_chaos_workload.py::test_a_system_without_faults_breaks_no_promise"

MUTATIONS: Final = (
    Mutation(
        "checker: what was only seen may vanish",
        "tests/chaos/checker.py",
        "            story.see(message.number, message.tag)\n            if over:\n",
        "            if self.facts.sent[message.tag].acknowledged:\n"
        "                story.see(message.number, message.tag)\n            if over:\n",
        ONE + "[lost_after_it_was_only_seen]",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "checker: a delete that nobody was told of is never known",
        "tests/chaos/checker.py",
        "        if gone and known and story",
        "        if False and story",
        ONE + "[undecided_delete]",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "checker: the order of real time is not compared with the numbers",
        "tests/chaos/sightings.py",
        "        if sent is not None and number <= sent.floor:\n",
        "        if False:\n",
        ONE + "[against_real_time]",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "checker: claims what overlapping calls do not prove",
        "tests/chaos/checker.py",
        "    moments += [(operation.completed_ns, True, i) for i, operation in enumerate(operations)]\n",
        "    moments += [(operation.invoked_ns, True, i) for i, operation in enumerate(operations)]\n",
        PLANTED + "test_overlapping_calls_may_have_happened_in_either_order",
    ),
    Mutation(
        "checker: whatever was appended in the seconds that are gone may be lost, PostgreSQL or not",
        "tests/chaos/losses.py",
        "        if not _is_stored(event, row := known.get((event.user_id, event.conversation_id)))\n",
        "        if [row := known.get((event.user_id, event.conversation_id))]\n",
        LOSSES + "test_what_postgresql_has_is_not_lost",
    ),
    Mutation(
        "checker: while anything is forgiven, nothing is demanded of a read",
        "tests/chaos/reads.py",
        "        if tag is not None and tag not in tags and tag not in window.numbers:\n",
        "        if False:\n",
        NOT_EXCUSED + "[a_read_in_the_window_is_without_what_the_record_had]",
    ),
    Mutation(
        "checker: what is answered while anything is forgiven may be lost",
        "tests/chaos/checker.py",
        "            story.afloat.add(message.tag)\n",
        "",
        NOT_EXCUSED + "[what_is_answered_in_the_window_is_lost]",
    ),
    Mutation(
        "checker: any message of a conversation that lost something may move",
        "tests/chaos/sightings.py",
        "        while met := {key for key in waiting if self._met(key, excused)}:\n",
        "        while met := set(waiting):\n",
        NOT_EXCUSED + "[a_message_moves_that_met_nobody]",
    ),
    Mutation(
        "checker: a message that may have moved is nowhere at the end",
        "tests/chaos/sightings.py",
        "        for key in excused & self._since.keys() & self._settled.keys():\n",
        "        for key in excused - excused:\n",
        NOT_EXCUSED + "[one_number_for_two_at_the_end]",
    ),
    Mutation(
        "checker: forgiven for ever",
        "tests/chaos/pardon.py",
        " and operation.invoked_ns <= self.well_ns",
        "",
        NOT_EXCUSED + "[a_row_goes_back_after_the_window]",
    ),
    Mutation(
        "checker: what came late and was seen is known no more",
        "tests/chaos/checker.py",
        "        if message.tag in window.numbers and operation.invoked_ns <= window.dead_ns:\n",
        "        if message.tag in window.numbers:\n",
        NOT_EXCUSED + "[what_came_late_is_lost_again]",
    ),
    Mutation(
        "checker: a delete is forgotten with anything else that is lost",
        "tests/chaos/pardon.py",
        "    if window.undeleted:\n",
        "    if True:\n",
        NOT_EXCUSED + "[a_delete_that_was_not_lost_is_undone]",
    ),
    Mutation(
        "checker: a conversation that lost something need not be found",
        "tests/chaos/checker.py",
        "(window and window.vanished)",
        "window",
        NOT_EXCUSED + "[a_conversation_is_not_found_in_the_window]",
    ),
    Mutation(
        "checker: what only the log had is demanded all the same",
        "tests/chaos/pardon.py",
        "        number = story.numbers.pop(tag, None)\n",
        "        number = None\n",
        EXCUSED + "[only_the_log_had_it]",
    ),
    Mutation(
        "checker: at the end a cache may lack what nobody was told of",
        "tests/chaos/agreement.py",
        "    if any((Violation.LOST, tag) not in verdict.findings for tag in missing):\n",
        "    if False:\n",
        ONE + "[missing_at_the_end_and_nobody_was_told]",
        of=(Promise.ONE_ORDER, Promise.READ_YOUR_WRITES),
    ),
    Mutation(
        "checker: at the end a cached list may show what is deleted",
        "tests/chaos/agreement.py",
        "            if row is not None:\n",
        "            if False:\n",
        ONE + "[deleted_and_still_listed_at_the_end]",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "checker: at the end a list may have other times than PostgreSQL",
        "tests/chaos/agreement.py",
        "        elif row.modified_ms != conversation.modified_ms:\n",
        "        elif False:\n",
        ONE + "[another_time_at_the_end]",
    ),
    Mutation(
        "checker: a message may have another id wherever it is seen",
        "tests/chaos/sightings.py",
        "        if other != id_ and tag not in story.lost_tags:\n",
        "        if False:\n",
        ONE + "[under_another_id]",
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "checker: success with a body that cannot be read is as good as no answer",
        "tests/chaos/checker.py",
        "        if operation.malformed:\n",
        "        if False:\n",
        ONE + "[unreadable]",
        of=(Promise.INPUT,),
    ),
    Mutation(
        "checker: a 500 is as good as no answer",
        "tests/chaos/checker.py",
        "        elif operation.status not in (None, AWAY):\n",
        "        elif False:\n",
        ONE + "[failed_inside]",
        of=(Promise.INPUT,),
    ),
    Mutation(
        "checker: a refusal may tell that another user's conversation exists",
        "tests/chaos/checker.py",
        "            if operation.status != 404:\n",
        "            if False:\n",
        ONE + "[another_refusal_than_for_what_is_not_there]",
    ),
    Mutation(
        "checker: of a page nothing is demanded while anything is forgiven",
        "tests/chaos/reads.py",
        "        if operation.arguments.page != 1 or len(tags) >= (operation.arguments.page_size or 0):\n",
        "        if True:\n",
        NOT_EXCUSED + "[a_whole_page_in_the_window_is_without_what_the_record_had]",
    ),
    Mutation(
        "workload: an append does not reach the cached list",
        "common/redis/lua/append.lua",
        "    length = redis.call('RPUSHX', k.messages, unpack(messages))\n",
        "    length = 0\n",
        WORKLOAD,
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "workload: a change does not reach the user's cached list",
        "common/redis/lua/update.lua",
        "  show_in_user_list(k, c, h)\n",
        "",
        WORKLOAD,
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "workload: a message that is there is appended again",
        "common/redis/lua/append.lua",
        "    if record then\n",
        "    if false then\n",
        WORKLOAD,
        of=(Promise.ONE_ROW,),
    ),
)

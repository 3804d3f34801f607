"""Defences that the whole, put together, was found to need."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

OVERLAY: Final = "common/domain/overlay.py"
UNIT: Final = "tests/unit/test_overlay.py::"

_MESSAGES: Final = """        found = await self._recorded_messages(events)
        removals = await self._recorded_removals(events)
        logs = await self._recorded_logs(events)
"""
_STATES: Final = """\
        # Last: a delete that is committed in between takes the messages away, and is seen here then.
        conversations = {(e.user_id, e.conversation_id) for e in events if not isinstance(e, QueryLogged)}
        states = {
            (row["user_id"], row["id"]): (row["state_version"], row["deleted"])
            for row in await self._fetch("verify_states", *_columns(sorted(conversations), 2))
        }
"""

MUTATIONS: Final = (
    Mutation(
        "renumber: a removed message gets a number because another has its own",
        "common/postgres/places.py",
        '            elif facts["removed"]:\n',
        '            elif facts["removed"] and not claim.contested:\n',
        "tests/properties/test_writer_collisions.py::"
        "test_a_removal_that_comes_first_holds_where_two_had_the_number",
        of=(Promise.DELETE, Trap.OLDER_REDIS, Trap.REDELIVERY),
    ),
    Mutation(
        "overlay: a pending deletion counts only with a newer version",
        OVERLAY,
        " or isinstance(event, ConversationDeleted):\n",
        ":\n",
        UNIT + "test_a_deletion_is_final_whatever_its_version",
        of=(Promise.DELETE, Trap.REBUILD_DELETE),
    ),
    Mutation(
        "overlay: a pending number counts only with a newer version",
        OVERLAY,
        "        elif isinstance(event, MessagesAppended):\n",
        "        elif False:\n",
        UNIT + "test_a_number_is_taken_whatever_the_version",
        of=(Promise.ONE_ORDER, Trap.PENDING_FIRST),
    ),
    Mutation(
        "settle: what was trimmed is taken for lost",
        "common/redis/lua/group.lua",
        "  if trimmed and before(position, trimmed) then\n",
        "  if false then\n",
        "tests/integration/test_persister.py::"
        "test_settled_again_after_it_was_trimmed_it_is_not_taken_for_lost",
        of=(Promise.TRIM,),
    ),
    Mutation(
        "verify: messages are looked for after the conversation",
        "common/postgres/audit.py",
        _MESSAGES + _STATES,
        _STATES + _MESSAGES,
        "tests/races/test_verify_races.py::test_a_deletion_between_two_questions_is_no_loss",
        of=(Promise.DELETE,),
    ),
)

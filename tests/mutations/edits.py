"""The defences of edits, deletions and truncations of messages."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

REMOVED: Final = "tests/integration/test_removed_messages.py::"
OVERLAY: Final = "tests/unit/test_overlay.py::"

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
)

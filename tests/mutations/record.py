"""The defences of what runs on PostgreSQL alone."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

RACES: Final = "tests/races/test_direct_races.py::"
DIRECT_SQL: Final = "common/postgres/queries/direct.sql"

MUTATIONS: Final = (
    Mutation(
        "direct: a conversation that is being changed is not locked",
        DIRECT_SQL,
        "WHERE user_id = $1 AND id = $2\nFOR NO KEY UPDATE\n",
        "WHERE user_id = $1 AND id = $2\n",
        RACES + "test_appends_of_two_gateways_are_numbered_without_gap_or_repetition",
        of=(Promise.ONE_ORDER, Promise.AWAY),
    ),
    Mutation(
        "direct: no row to lock while a conversation is created",
        "common/direct/conversation.py",
        '        await connection.fetch(statement("add_conversations"), [user], [conversation], *times)\n',
        "        assert times\n",
        RACES + "test_one_conversation_that_is_created_twice_at_once_is_there_once",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "direct: a commit that was not answered is an error",
        "common/direct/transactions.py",
        "        if not connection_lost(lost):\n",
        "        if lost:\n",
        RACES + "test_an_append_whose_commit_was_not_answered_is_made_once",
        of=(Promise.ONE_ROW, Promise.AWAY),
    ),
    Mutation(
        "direct: the second try does not look for what the first may have done",
        "common/direct/publisher.py",
        "        return not self.fresh or any(message.id_given for message in self.messages)\n",
        "        return any(message.id_given for message in self.messages)\n",
        RACES + "test_an_append_whose_commit_was_not_answered_is_made_once",
        of=(Promise.ONE_ROW, Promise.AWAY, Trap.RETRIES),
    ),
    Mutation(
        "direct: an idempotency key is taken from whoever has it",
        DIRECT_SQL,
        "WHERE k.expires_at <= now() OR k.request_digest = excluded.request_digest\n",
        "",
        RACES + "test_a_key_that_two_requests_use_at_once_is_one_s",
        of=(Promise.ONE_ROW, Promise.AWAY),
    ),
    Mutation(
        "direct: a repeated request is not remembered",
        DIRECT_SQL,
        "WHERE user_id = $1 AND key_digest = $2 AND expires_at > now()\n",
        "WHERE user_id = $1 AND key_digest = $2 AND false\n",
        RACES + "test_one_request_that_comes_twice_at_once_is_carried_out_once",
        of=(Promise.ONE_ROW, Promise.AWAY),
    ),
    Mutation(
        "direct: single reads go past the guard",
        "common/direct/transactions.py",
        "        if self._guards.reads is not None:\n            async with self.snapshot(user",
        "        if False:\n            async with self.snapshot(user",
        RACES + "test_a_guard_ends_a_transaction_before_anything_is_done",
        of=(Promise.AWAY,),
    ),
)

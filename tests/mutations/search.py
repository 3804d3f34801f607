"""The defences of full text search."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

SEARCH: Final = "tests/integration/test_search.py::"
OVER_HTTP: Final = "tests/integration/gateway/test_search.py::"
TEXT: Final = "tests/unit/test_search_text.py::"
SQL: Final = "common/postgres/queries/search.sql"

MUTATIONS: Final = (
    Mutation(
        "search: only the mark of a user's words keeps users apart",
        SQL,
        "    WHERE m.user_id = $1 AND m.search @@ $2::text::tsquery\n",
        "    WHERE m.search @@ $2::text::tsquery\n",
        SEARCH + "test_a_users_mark_alone_does_not_keep_users_apart",
    ),
    Mutation(
        "search: words carry no mark, so that the index offers everybody's",
        "common/postgres/search_words.py",
        "hashlib.blake2b(user.encode(), digest_size=5)",
        "hashlib.blake2b(b'', digest_size=5)",
        SEARCH + "test_users_have_words_of_their_own",
    ),
    Mutation(
        "search: what is pending is not searched",
        "common/searching.py",
        "        unrecorded = await self._unrecorded(user)\n",
        "        unrecorded = Unrecorded()\n",
        SEARCH + "test_messages_are_found_wherever_they_are",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "search: PostgreSQL is asked before what is pending",
        "common/searching.py",
        "        unrecorded = await self._unrecorded(user)\n"
        "        return await self._store.search(user, wanted, unrecorded, limit=limit, after=after)\n",
        "        recorded = await self._store.search(user, wanted, limit=limit, after=after)\n"
        "        unrecorded = await self._unrecorded(user)\n"
        "        if not unrecorded.messages:\n"
        "            return recorded\n"
        "        return await self._store.search(user, wanted, unrecorded, limit=limit, after=after)\n",
        SEARCH + "test_what_is_committed_between_the_two_looks_is_found",
        of=(Promise.READ_YOUR_WRITES, Trap.PENDING_FIRST),
    ),
    Mutation(
        "search: a conversation whose deletion is pending is found",
        SQL,
        "        AND m.conversation_id <> ALL ($3::uuid[])\n",
        "        AND cardinality($3::uuid[]) >= 0\n",
        SEARCH + "test_a_deleted_conversation_is_not_found",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: pending messages of a deleted conversation are found",
        "common/searching.py",
        "        if gone or (header is not None and header.deleted):\n",
        "        if False and gone and header:\n",
        SEARCH + "test_a_deleted_conversation_is_not_found",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: a message whose deletion is pending is found",
        SQL,
        "            WHERE h.conversation_id = m.conversation_id AND h.sequence_number = m.sequence_number\n",
        "            WHERE false\n",
        SEARCH + "test_what_is_pending_lies_over_the_record",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: an edit that is pending leaves the old text to be found",
        SQL,
        "            WHERE w.conversation_id = m.conversation_id AND w.id = m.id\n        )\n    UNION ALL",
        "            WHERE false\n        )\n    UNION ALL",
        SEARCH + "test_what_is_pending_lies_over_the_record",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "search: what was pending is believed though the record has a later edit",
        SQL,
        "            AND (m.version >= w.version OR m.sequence_number <> w.sequence_number)\n",
        "            AND m.sequence_number <> w.sequence_number\n",
        SEARCH + "test_what_the_record_knows_better_is_not_shown_as_it_was_pending",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "search: a message that was pending is shown though the record has its removal",
        SQL,
        "        WHERE g.user_id = $1 AND g.conversation_id = w.conversation_id AND g.id = w.id\n",
        "        WHERE false\n",
        SEARCH + "test_what_the_record_knows_better_is_not_shown_as_it_was_pending",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: a message that was pending is shown though a truncation overtook it",
        SQL,
        "            AND COALESCE(t.message_id, w.id) = w.id\n",
        "            AND false\n",
        SEARCH + "test_what_the_record_knows_better_is_not_shown_as_it_was_pending",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: a message that was pending is shown though its conversation was deleted",
        SQL,
        "        WHERE c.user_id = $1 AND c.id = w.conversation_id AND c.deleted_at IS NOT NULL\n",
        "        WHERE false\n",
        SEARCH + "test_what_the_record_knows_better_is_not_shown_as_it_was_pending",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "search: an edited message keeps the words it was found by",
        "common/postgres/queries/write.sql",
        "edited = true, search = n.search::tsvector\n",
        "edited = true\n",
        SEARCH + "test_what_was_edited_deleted_or_truncated",
    ),
    Mutation(
        "search: a backlog of pending conversations is read through, however long",
        "common/searching.py",
        "        if len(pending.ids) > self._max_pending:\n",
        "        if False and len(pending.ids) > self._max_pending:\n",
        SEARCH + "test_too_much_that_is_pending_is_an_honest_no",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "search: a message may have more words than PostgreSQL can store",
        "common/postgres/search_words.py",
        "            if size > MAX_BYTES:\n                break\n",
        "",
        SEARCH + "test_a_text_of_very_many_words_is_found_by_its_first",
        of=(Promise.INPUT,),
    ),
    Mutation(
        "search: places are not total, equally good hits come twice or never",
        SQL,
        "        OR (score, created_at, conversation_id, sequence_number) <"
        " ($12, $13::timestamptz, $14::uuid, $15::bigint)\n",
        "        OR (score, created_at) < ($12, $13::timestamptz) AND $14::uuid IS NOT NULL"
        " AND $15::bigint IS NOT NULL\n",
        SEARCH + "test_pages_do_not_repeat_or_leave_out_while_messages_come_in",
    ),
    Mutation(
        "search: a cursor of another search is taken",
        "common/domain/search/wanted.py",
        "    known = digest == wanted.digest and parse_conversation_id(conversation) == conversation\n",
        "    known = bool(digest) and parse_conversation_id(conversation) == conversation\n",
        TEXT + "test_a_cursor_is_of_its_search",
    ),
    Mutation(
        "search: without the index a search reads every message",
        "common/postgres/migrations/0008_message_search.sql",
        "CREATE INDEX messages_search ON messages USING gin (search);\n",
        "",
        SEARCH + "test_a_search_follows_an_index",
    ),
    Mutation(
        "search: making words waits for whoever has a message locked",
        SQL,
        "FOR NO KEY UPDATE SKIP LOCKED\n",
        "FOR NO KEY UPDATE NOWAIT\n",
        SEARCH + "test_messages_of_an_earlier_version_are_indexed_later",
    ),
    Mutation(
        "search: any number of words may be looked for",
        "common/domain/search/wanted.py",
        "    if sum(map(len, phrases)) > MAX_TERMS:\n",
        "    if sum(map(len, phrases)) > 10**9:\n",
        TEXT + "test_what_cannot_be_looked_for",
    ),
)

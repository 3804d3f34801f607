"""The defences of exports, and of replies that are streamed."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

PARTS: Final = "tests/integration/test_parts.py::"
EXPORT: Final = "tests/integration/gateway/test_export.py::"
STREAMING: Final = "tests/unit/gateway/test_streaming.py::"
ENDS: Final = "tests/integration/gateway/test_export_streaming.py::"

MUTATIONS: Final = (
    Mutation(
        "export: what is pending behind a part goes with it",
        "common/history.py",
        "        end = stored[-1].sequence_number + 1 if stored else end\n",
        "",
        PARTS + "test_a_part_is_bounded_in_messages_and_none_is_missing",
        of=(Promise.READ_YOUR_WRITES,),
    ),
    Mutation(
        "export: a part of a conversation that is deleted, and forgotten by Redis",
        "common/history.py",
        "        if header is None or header.deleted or (recorded is not None and recorded.deleted):\n"
        "            raise ConversationNotFound(conversation)\n"
        "        # What is pending behind",
        "        assert header is not None\n        # What is pending behind",
        PARTS + "test_there_is_no_part_of_what_is_deleted",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "export: a delete while a part is read",
        "common/history.py",
        "        await self._refuse_torn(user, conversation)\n        recorded =",
        "        recorded =",
        PARTS + "test_a_delete_while_a_part_is_read_leaves_no_part",
        of=(Promise.DELETE, Trap.PENDING_FIRST),
    ),
    Mutation(
        "export: a part is bounded by what messages take compressed",
        "common/postgres/queries/export.sql",
        ") AS unpacked\nWHERE COALESCE(bytes_ahead, 0) < $6::bigint",
        ") AS unpacked",
        PARTS + "test_a_part_is_bounded_in_bytes",
    ),
    Mutation(
        "export: all that is pending is held",
        "common/redis/lua/load.lua",
        "if most and size > most then",
        "if false then",
        EXPORT + "test_too_much_that_is_pending_is_told_so",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "export: the reply begins before anything was read",
        "services/gateway/exports.py",
        "            first = await anext(conversations, None)\n",
        "            first = None\n",
        EXPORT + "test_too_much_that_is_pending_is_told_so",
    ),
    Mutation(
        "export: a message as deep as may be sent is too deep for import",
        "tools/importing/lines.py",
        "parse_json(line.text, limits.max_depth + 2)",
        "parse_json(line.text, limits.max_depth)",
        EXPORT + "test_an_export_comes_back_by_import",
        of=(Promise.INPUT,),
    ),
    Mutation(
        "export: a title is put into the header as it is",
        "services/gateway/file_names.py",
        "{quote(f'{shown}.{extension}', safe='')}",
        "{title}.{extension}",
        EXPORT + "test_a_title_cannot_leave_its_header",
        of=(Promise.INPUT,),
    ),
    Mutation(
        "export: what is appended meanwhile is in it",
        "services/gateway/exports.py",
        "after=last, before=before)",
        "after=last)",
        ENDS + "test_what_is_appended_meanwhile_is_left_out",
    ),
    Mutation(
        "export: one user may have all places",
        "services/gateway/exports.py",
        "        if self._taken[user] >= max(1, self._most // 2):",
        "        if False:",
        "tests/unit/gateway/test_export_places.py",
    ),
    Mutation(
        "export: any number at a time",
        "services/gateway/exports.py",
        "        if self._taken.total() >= self._most:",
        "        if False:",
        "tests/unit/gateway/test_export_places.py",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "streaming: a client that takes nothing is waited for",
        "services/gateway/streaming.py",
        "asyncio.timeout(self._stall_seconds)",
        "asyncio.timeout(None)",
        STREAMING + "test_a_client_that_takes_nothing_is_waited_for_so_long",
    ),
    Mutation(
        "streaming: more is made for a client that is gone",
        "services/gateway/streaming.py",
        "        if self._gone.done():",
        "        if False:",
        STREAMING + "test_nothing_more_is_made_for_a_client_that_is_gone",
    ),
    Mutation(
        "streaming: a stream that nobody began to read keeps what it holds",
        "services/gateway/streaming.py",
        "            await self._scope[STREAM].close()\n",
        "            pass\n",
        STREAMING + "test_what_a_stream_holds_is_given_up_once_wherever_it_stands",
    ),
    Mutation(
        "streaming: a reply that cannot be finished is ended as if it were whole",
        "services/gateway/streaming.py",
        '            raise Cut(f"{type(error).__name__}: {error}") from error\n',
        "            raise StopAsyncIteration from error\n",
        STREAMING + "test_a_failure_on_the_way_cuts_the_reply",
        of=(Promise.DELETE,),
    ),
)

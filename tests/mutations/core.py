"""The defences of the main job: log, cache, rebuilds, persister, contract, input, import."""

from typing import Final

from tests.mutations.mutation import Mutation

REBUILDS: Final = "tests/races/test_rebuild_races.py::"
LOG: Final = "tests/integration/test_log.py::"
WRITER: Final = "tests/races/test_writer_races.py::"
CONVERGENCE: Final = "tests/properties/test_writer_convergence.py::test_any_delivery_ends_in_the_same_rows"
PERSISTER: Final = "tests/integration/test_persister.py::"
IMPORT: Final = "tests/integration/test_import.py::"
CONTRACT: Final = "tests/unit/test_contract.py::"
WRITE_SQL: Final = "common/postgres/queries/write.sql"


_STORE_READ: Final = """        newest = after is None
        stored = await self._store.window(
            user,
            conversation,
            after=after,
            before=before,
            limit=limit,
            newest=newest,
            excluding=%s,
        )
"""
_PENDING_READ: Final = "        pending = await self._pending(user, conversation)\n"
_PENDING_FIRST: Final = _PENDING_READ + _STORE_READ % "pending.touched"
_PENDING_SECOND: Final = _STORE_READ % "[]" + _PENDING_READ

MUTATIONS: Final = (
    Mutation(
        "rebuild vs delete: what is pending of a deleted conversation is cached",
        "common/rebuild.py",
        "        found = [] if header.deleted else newest(",
        "        found = newest(",
        REBUILDS + "test_what_is_pending_of_a_deleted_conversation_is_not_cached",
    ),
    Mutation(
        "rebuild vs append: no journal of what came since",
        "common/redis/lua/append.lua",
        "  redis.call('RPUSHX', k.rebuild, unpack(messages))\n",
        "",
        REBUILDS + "test_an_append_during_a_rebuild_is_in_the_installed_list",
    ),
    Mutation(
        "rebuild vs append: the journal is not taken in (committed since)",
        "common/redis/lua/load.lua",
        "  for _, message in ipairs(since) do\n    redis.call('RPUSH', k.messages, message)\n  end\n",
        "",
        REBUILDS + "test_an_append_that_is_committed_during_a_rebuild_is_in_the_installed_list",
    ),
    Mutation(
        "rebuild: installed without compare-and-set",
        "common/redis/lua/load.lua",
        "  if redis.call('LINDEX', k.rebuild, 0) ~= args[1] then\n    return 'conflict'\n  end\n  local ids",
        "  local ids",
        REBUILDS + "test_a_rebuild_never_moves_a_list_backwards",
    ),
    Mutation(
        "rebuild vs delete: the token survives a delete",
        "common/redis/lua/delete.lua",
        "redis.call('UNLINK', k.header, k.messages, k.rebuild)",
        "redis.call('UNLINK', k.header, k.messages)",
        REBUILDS + "test_a_delete_during_a_rebuild_is_final",
    ),
    Mutation(
        "two builders: a token does not keep others out",
        "common/redis/lua/load.lua",
        "  if args[3] ~= '1' and redis.call('EXISTS', k.rebuild) == 1 then",
        "  if false then",
        REBUILDS + "test_two_builders_share_one_rebuild",
    ),
    Mutation(
        "200 readers: no single flight within a process, no lock between them",
        "common/redis/lua/load.lua",
        "  if args[3] ~= '1' and redis.call('EXISTS', k.rebuild) == 1 then",
        "  if false then",
        REBUILDS + "test_two_hundred_readers_of_one_cold_conversation_cost_one_query",
    ),
    Mutation(
        "expiry between check and push: pushed onto an absent list",
        "common/redis/lua/append.lua",
        "    length = redis.call('RPUSHX', k.messages, unpack(messages))",
        "    length = redis.call('RPUSH', k.messages, unpack(messages))",
        REBUILDS + "test_expiry_between_check_and_push_cannot_make_a_part_look_whole",
    ),
    Mutation(
        "an absent sorted set: added to as if it were empty",
        "common/redis/lua/shared.lua",
        "  if not floor then\n    return\n  end\n",
        "  if not floor then\n    floor = 0\n    redis.call('ZADD', k.conversations, 0, FLOOR)\n  end\n",
        REBUILDS + "test_an_absent_sorted_set_is_not_an_empty_one",
    ),
    Mutation(
        "list rebuild vs create and delete: changes since are not taken in",
        "common/redis/lua/shared.lua",
        "  redis.call('RPUSHX', k.user_rebuild, c.conversation)\n",
        "",
        REBUILDS + "test_a_conversation_made_during_a_rebuild_of_the_list_is_in_it",
    ),
    Mutation(
        "a partial list is taken for the whole",
        "common/history.py",
        "if len(messages) == limit or not messages or _is_first(messages[0]):",
        "if True:",
        REBUILDS + "test_a_partial_list_is_not_taken_for_the_whole",
    ),
    Mutation(
        "pending vs PostgreSQL: read the other way round",
        "common/history.py",
        _PENDING_FIRST,
        _PENDING_SECOND,
        REBUILDS + "test_what_is_committed_between_two_reads_is_in_the_answer",
    ),
    Mutation(
        "a reader who joins a failed search believes it",
        "common/loading.py",
        "            if not joined:\n                raise\n",
        "            raise\n",
        REBUILDS + "test_a_reader_who_joins_a_failed_search_sees_the_conversation_created_since",
    ),
    Mutation(
        "rebuild vs eviction of the header: what was read before is put back",
        "common/redis/lua/load.lua",
        "    if args[16] == '1' then",
        "    if false then",
        REBUILDS + "test_a_header_that_goes_during_a_rebuild_does_not_come_back_older",
    ),
    Mutation(
        "the floor of a user's list: rows below it are put in",
        "common/redis/lua/shared.lua",
        "  if h.deleted or h.modified <= tonumber(floor) then",
        "  if h.deleted then",
        "tests/integration/test_reads.py::test_old_conversations_that_come_late_do_not_hide_others",
    ),
    Mutation(
        "a lost reply: the repeated append is taken for a fresh one",
        "common/publisher.py",
        "                repeatable, checked = False, NOTHING_CHECKED\n",
        "                repeatable = False\n",
        "tests/integration/test_publisher.py::test_an_append_whose_reply_was_lost_is_there_once",
    ),
    Mutation(
        "a frozen server: its connection is closed politely",
        "common/redis/client.py",
        "        writer.transport.abort()",
        "        writer.close()",
        "tests/integration/test_redis_client.py::test_a_frozen_server_is_given_up_though_more_is_to_be_sent",
    ),
    Mutation(
        "ack=persisted: what is pending no more is taken for persisted",
        "common/publisher.py",
        "        return set(appended.messages) <= {message.served for message in stored}\n",
        "        return True\n",
        "tests/integration/test_publisher.py::"
        "test_waiting_does_not_take_a_parked_message_for_a_persisted_one",
    ),
    Mutation(
        "deduplication by message id",
        "common/redis/lua/append.lua",
        "    if record then\n      -- A digest",
        "    if false then\n      -- A digest",
        LOG + "test_a_message_id_that_comes_again_is_answered_as_before",
    ),
    Mutation(
        "another body under a known id",
        "common/redis/lua/append.lua",
        "      if digest ~= args[i + 1] and number ~= args[i + 2] then",
        "      if false then",
        "tests/integration/test_publisher.py::test_a_message_id_with_another_body_is_refused",
    ),
    Mutation(
        "idempotency key",
        "common/redis/lua/append.lua",
        "  local answer = remembered(keys[10], args[14])",
        "  local answer = nil",
        LOG + "test_an_idempotency_key_gives_the_first_answer_again",
    ),
    Mutation(
        "nothing expires while pending",
        "common/redis/lua/shared.lua",
        "    redis.call('PERSIST', k.header)\n",
        "",
        LOG + "test_nothing_expires_while_it_is_pending",
    ),
    Mutation(
        "delete is final",
        "common/redis/lua/append.lua",
        "  if h and h.deleted then\n    return { 'missing' }\n  end\n",
        "",
        LOG + "test_nothing_can_be_done_to_a_deleted_conversation",
    ),
    Mutation(
        "a user id in a key is quoted",
        "common/redis/keys.py",
        "{quote(user, safe='@')}",
        "{user}",
        LOG + "test_any_user_id_is_safe_in_a_key",
    ),
    Mutation(
        "writer: redelivery after delete finds no gravestone",
        "common/postgres/writer.py",
        "    living = [change for change in changes if not tallies[change.key].gone]",
        "    living = list(changes)",
        WRITER + "test_a_redelivery_after_a_delete_brings_nothing_back",
    ),
    Mutation(
        "writer: a delete in two transactions, conversations are not locked (delete, then append)",
        WRITE_SQL,
        "FOR NO KEY UPDATE OF c",
        "",
        WRITER + "test_a_stale_append_meets_a_delete_that_has_looked_already",
    ),
    Mutation(
        "writer: a delete in two transactions, conversations are not locked (append, then delete)",
        WRITE_SQL,
        "FOR NO KEY UPDATE OF c",
        "",
        WRITER + "test_a_delete_meets_an_append_that_has_looked_already",
    ),
    Mutation(
        "writer: one snapshot for the whole transaction",
        "common/postgres/writer.py",
        'connection.transaction(isolation="read_committed")',
        'connection.transaction(isolation="repeatable_read")',
        WRITER + "test_two_appends_at_once_are_both_counted",
    ),
    Mutation(
        "writer: tombstones are not looked at",
        WRITE_SQL,
        "        payload, version, edited)\nWHERE NOT EXISTS (",
        "        payload, version, edited)\nWHERE true OR NOT EXISTS (",
        WRITER + "test_a_late_event_of_a_removed_message_does_not_bring_it_back",
    ),
    Mutation(
        "writer: batches lock in the order of their events",
        "common/postgres/changes.py",
        "[changes[key] for key in sorted(changes)]",
        "list(changes.values())",
        WRITER + "test_batches_in_opposite_orders_do_not_deadlock",
    ),
    Mutation(
        "writer: an older edit wins when it comes last",
        WRITE_SQL,
        "m.sequence_number = n.sequence_number AND m.version < n.version",
        "m.sequence_number = n.sequence_number",
        CONVERGENCE,
    ),
    Mutation(
        "writer: an older title wins when it comes last",
        WRITE_SQL,
        "SET title = CASE WHEN n.gone THEN NULL WHEN n.state_version > c.state_version THEN n.title",
        "SET title = CASE WHEN n.gone THEN NULL WHEN n.state_version > 0 THEN n.title",
        CONVERGENCE,
    ),
    Mutation(
        "writer: redelivered messages are counted again",
        "common/postgres/writer.py",
        "        rows = [row for row in rows if _place(row) in places]\n",
        "",
        CONVERGENCE,
    ),
    Mutation(
        "persister: the group begins at the log's end",
        "common/redis/lua/group.lua",
        "keys[1], args[1], '0', 'MKSTREAM'",
        "keys[1], args[1], '$', 'MKSTREAM'",
        PERSISTER + "test_a_group_that_is_created_late_reads_from_the_beginning",
    ),
    Mutation(
        "persister: a missing group is not created again",
        "services/persister/reader.py",
        "            await self._group.create(self._partition)\n",
        "",
        PERSISTER + "test_a_group_that_disappears_is_created_again",
    ),
    Mutation(
        "persister: what a dead consumer left is not claimed",
        "services/persister/reader.py",
        "if asyncio.get_running_loop().time() >= self._claim_at:",
        "if False:",
        PERSISTER + "test_what_a_dead_consumer_left_is_claimed",
    ),
    Mutation(
        "persister: acknowledged before the commit",
        "services/persister/recorder.py",
        "        error = await self._write(items)\n",
        "        await self._settle(items)\n        error = await self._write(items)\n",
        PERSISTER + "test_kill_in_the_middle_of_a_batch_loses_nothing",
    ),
    Mutation(
        "persister: a batch is parked as a whole",
        "services/persister/trial.py",
        "            elif len(part) > 1:\n",
        "            elif False:\n",
        PERSISTER + "test_a_poison_event_is_parked_alone",
    ),
    Mutation(
        "persister: an outage is taken for poison",
        "services/persister/recorder.py",
        "if judge(error) is Verdict.TRANSIENT and not too_much:",
        "if False:",
        PERSISTER + "test_an_outage_of_postgresql_parks_and_loses_nothing",
    ),
    Mutation(
        "persister: SIGTERM drops the batch",
        "services/persister/persister.py",
        "            await asyncio.wait([closing, writing], timeout=STOP_GRACE_SECONDS)\n",
        "",
        PERSISTER + "test_sigterm_in_the_middle_of_a_batch_loses_and_repeats_nothing",
    ),
    Mutation(
        "persister: trimming passes what is not acknowledged",
        "common/redis/lua/group.lua",
        "  if waiting[1] > 0 and before(waiting[2], floor) then",
        "  if false then",
        PERSISTER + "test_trimming_never_passes_what_is_not_committed",
    ),
    Mutation(
        "import: fresh message ids instead of derived ones",
        "tools/importing/lines.py",
        "        derived=lambda index: MessageId(derived_id(owner, conversation, str(index))),\n",
        "",
        IMPORT + "test_importing_twice_changes_nothing",
    ),
    Mutation(
        "import: two lines of one conversation at once",
        "tools/importing/importer.py",
        "            async with lock:\n                await self._conversation(conversation)\n",
        "            await self._conversation(conversation)\n",
        IMPORT + "test_two_lines_of_one_conversation_keep_the_order_of_the_file",
    ),
    Mutation(
        "import: modified when it was imported",
        "tools/importing/lines.py",
        "    return min(max(0, last), now_ms)\n",
        "    return now_ms\n",
        IMPORT + "test_history_keeps_its_times",
    ),
    Mutation(
        "import: read from the log counts as in PostgreSQL",
        "common/redis/group.py",
        "        return self.oldest_pending is None or position_order(self.oldest_pending)"
        " > position_order(position)\n",
        "        return True\n",
        "tests/unit/test_settled.py",
    ),
    Mutation(
        "contract: an unknown version is guessed at",
        "common/contract/stream.py",
        '    if version != b"%d" % CONTRACT_VERSION:\n',
        "    if not version:\n",
        CONTRACT + "test_an_unknown_version_is_not_guessed_at",
    ),
    Mutation(
        "contract: a body is parsed and written again",
        "common/domain/events.py",
        "        body = cls(value.encode() if isinstance(value, str) else value)\n",
        "        body = cls(to_json(parse_body(value)))\n",
        CONTRACT + "test_a_body_is_the_same_bytes_after_the_stream",
    ),
    Mutation(
        "input: NUL is let in",
        "common/checks/json_text.py",
        '    if b"\\\\u0000" in raw and ',
        "    if not raw and ",
        "tests/unit/test_import_lines.py::test_a_refusal_names_the_field",
    ),
)

"""What the answers to the traps of docs/promises.md rest on, and what the promises of durability and of input
do, as far as no other area has it."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

GROUP: Final = "tests/integration/test_consumer_group.py::"
ORDER: Final = "tests/races/test_reading_order.py::"
REBUILDS: Final = "tests/races/test_rebuild_races.py::"
SEEN: Final = "tests/integration/test_seen_by_others.py::"
EMBEDDED: Final = "tests/integration/test_embedded.py::"
BAD_INPUT: Final = "tests/integration/gateway/test_bad_input.py"
BODIES: Final = "tests/unit/gateway/test_bodies.py"
WEAKER: Final = "tests/integration/test_redis_server.py::test_a_server_that_may_lose_messages_is_warned_of"
MEANWHILE: Final = ORDER + "test_messages_that_are_committed_meanwhile_are_read"
LISTED: Final = ORDER + "test_conversations_that_are_committed_meanwhile_are_listed"
OVERTAKEN: Final = ORDER + "test_a_rebuild_that_is_overtaken_each_time_is_given_up_and_served_uncached"
HISTORY_PY: Final = "common/history.py"
DELETE_LUA: Final = "common/redis/lua/delete.lua"

_PEEK: Final = "            pending = await self._pending(user, conversation)\n"
_BY_NUMBER: Final = """            stored, pending = await self._store.read_beside(
                user,
                conversation,
                %s,
                lambda queries, _: queries.messages_by_number(user, conversation, missing),
            )
"""
_PAGE: Final = "        (merged, total), _ = await self._store.read_beside(user, conversation, %s, read)\n"
_PAGE_PENDING_LAST: Final = """        pending = await self._pending(user, conversation)
        merged, total = [*merged, *pending.bodies.values()], total + len(pending.bodies)
"""
_UNCACHED_PEEK: Final = """        header, events = await self._cache.peek(user, conversation)
        pending = pending_messages(events)
"""
_UNCACHED_LOAD: Final = "        loaded = await self._store.load(user, conversation, self._length%s)\n"
_LIST_PEEK: Final = "        pending = await self._loader.pending_rows(user)\n"
_LIST_STORED: Final = """        stored = await self._store.conversations(
            user,
            limit=limit,
            before=before,
            since_ms=since_ms,
            excluding=pending.ids,
        )
"""
_LIST_STORED_FIRST: Final = _LIST_STORED.replace("pending.ids", "[]")

MUTATIONS: Final = (
    Mutation(
        "rebuild: begun again and again, whoever overtakes it",
        "common/rebuild.py",
        "        for attempt in range(ATTEMPTS):\n",
        "        for attempt in iter(int, 1):\n",
        OVERTAKEN,
        of=(Promise.REBUILD, Trap.REBUILD_APPEND),
    ),
    Mutation(
        "rebuild: what cannot be cached is not served",
        HISTORY_PY,
        "        _, messages = await self._rebuilder.uncached(user, conversation)\n"
        "        return messages[-limit:]\n",
        "        return []\n",
        OVERTAKEN,
        of=(Promise.READ_YOUR_WRITES, Promise.REBUILD, Trap.REBUILD_APPEND),
    ),
    Mutation(
        "rebuild vs delete: no tombstone stays in Redis",
        DELETE_LUA,
        "  h.deleted = true\n",
        "",
        REBUILDS + "test_a_delete_during_a_rebuild_is_final",
        of=(Promise.DELETE, Trap.REBUILD_DELETE),
    ),
    Mutation(
        "a delete leaves the cached list: a gateway that knew the conversation reads on",
        DELETE_LUA,
        "  redis.call('UNLINK', k.header, k.messages, k.rebuild)\n",
        "  redis.call('UNLINK', k.header, k.rebuild)\n",
        SEEN + "test_a_deletion_is_seen_by_a_gateway_that_knew_the_conversation",
        of=(Promise.DELETE, Trap.REBUILD_DELETE, Trap.OWNERSHIP),
    ),
    Mutation(
        "a delete leaves the user's cached list as it is",
        DELETE_LUA,
        "  show_in_user_list(k, c, h)\n",
        "",
        SEEN + "test_a_deletion_is_seen_by_a_gateway_that_knew_the_conversation",
        of=(Promise.DELETE, Trap.OWNERSHIP),
    ),
    Mutation(
        "a conversation's address does not name its owner",
        "common/redis/keys.py",
        '        header = f"{base}:{conversation}"\n',
        '        header = f"{self.prefix}:{{{partition}}}:{conversation}"\n',
        "tests/integration/test_log.py::test_the_same_conversation_id_of_two_users_is_two_conversations",
        of=(Trap.OWNERSHIP,),
    ),
    Mutation(
        "pending vs PostgreSQL: the other way round, for a page of a conversation with gaps",
        HISTORY_PY,
        _PAGE % "pending",
        _PAGE % "pending_messages([])" + _PAGE_PENDING_LAST,
        MEANWHILE + "[page]",
        of=(Promise.READ_YOUR_WRITES, Trap.PENDING_FIRST),
    ),
    Mutation(
        "pending vs PostgreSQL: the other way round, for single messages",
        HISTORY_PY,
        _PEEK + _BY_NUMBER % "pending",
        _BY_NUMBER % "pending_messages([])" + _PEEK,
        MEANWHILE + "[by_number]",
        of=(Promise.READ_YOUR_WRITES, Trap.PENDING_FIRST),
    ),
    Mutation(
        "pending vs PostgreSQL: the other way round, past the cache",
        "common/rebuild.py",
        _UNCACHED_PEEK + _UNCACHED_LOAD % ", pending",
        _UNCACHED_LOAD % "" + _UNCACHED_PEEK,
        MEANWHILE + "[uncached]",
        of=(Promise.READ_YOUR_WRITES, Trap.PENDING_FIRST),
    ),
    Mutation(
        "pending vs PostgreSQL: the other way round, for a list of conversations",
        "common/listing.py",
        _LIST_PEEK + _LIST_STORED,
        _LIST_STORED_FIRST + _LIST_PEEK,
        LISTED,
        of=(Promise.READ_YOUR_WRITES, Trap.PENDING_FIRST),
    ),
    Mutation(
        '"no conversations yet" leaves no marker',
        "common/redis/lua/user_list.lua",
        "  redis.call('ZADD', keys[1], args[3], FLOOR)\n",
        "",
        REBUILDS + "test_no_conversations_yet_is_cached_and_undone_by_the_first_one",
        of=(Promise.REBUILD, Trap.NO_CONVERSATIONS),
    ),
    Mutation(
        '"no conversations yet": a create does not undo it',
        "common/redis/lua/create.lua",
        "    show_in_user_list(k, c, h)\n",
        "",
        REBUILDS + "test_no_conversations_yet_is_cached_and_undone_by_the_first_one",
        of=(Promise.READ_YOUR_WRITES, Trap.NO_CONVERSATIONS),
    ),
    Mutation(
        "claiming ends at the first page",
        "common/redis/group.py",
        '            if cursor == b"0-0":\n                return\n',
        "            return\n",
        GROUP + "test_claiming_goes_on_past_pages_that_hold_nothing",
        of=(Promise.KILL, Trap.AUTOCLAIM),
    ),
    Mutation(
        "claiming ends at a page that holds nothing",
        "common/redis/group.py",
        '            if cursor == b"0-0":\n                return\n',
        '            if cursor == b"0-0" or not found:\n                return\n',
        GROUP + "test_claiming_goes_on_past_pages_that_hold_nothing",
        of=(Promise.KILL, Trap.AUTOCLAIM),
    ),
    Mutation(
        "claiming: entries that are gone from the log are passed over in silence",
        "services/persister/reader.py",
        "            if page.lost:\n",
        "            if False:\n",
        GROUP + "test_an_entry_that_is_gone_from_the_log_is_an_alarm",
        of=(Promise.KILL, Trap.AUTOCLAIM),
    ),
    Mutation(
        "claiming: entries are taken over while a statement may still run",
        "common/settings.py",
        "    claim_min_idle_seconds: float = Field(default=30.0, gt=0)\n",
        "    claim_min_idle_seconds: float = Field(default=5.0, gt=0)\n",
        "tests/unit/test_settings.py::test_nobody_is_taken_over_from_while_a_statement_may_still_run",
        of=(Trap.CLAIMED,),
    ),
    Mutation(
        "a frozen writer keeps its locks",
        "common/postgres/pool.py",
        '            "idle_in_transaction_session_timeout": f"{statement_timeout * 1000:.0f}",\n',
        "",
        "tests/integration/test_store.py::test_who_stands_still_inside_a_transaction_lets_go_of_its_locks",
        of=(Trap.CLAIMED,),
    ),
    Mutation(
        "a statement may take any time",
        "common/postgres/pool.py",
        '            "statement_timeout": f"{statement_timeout * 1000:.0f}",\n',
        "",
        "tests/integration/test_store.py::test_a_slow_statement_is_an_outage",
        of=(Promise.AWAY, Trap.CLAIMED),
    ),
    Mutation(
        "a blocking read's connection is given up before its block is over",
        "services/persister/__main__.py",
        "response_timeout=block_seconds + 5)",
        "response_timeout=block_seconds / 2)",
        GROUP + "test_a_read_waits_for_its_whole_block",
        of=(Trap.BLOCK,),
    ),
    Mutation(
        "trimming passes what nobody has read",
        "common/redis/lua/group.lua",
        "      floor = fields['last-delivered-id']\n",
        "      floor = last_position(keys[1])\n",
        GROUP + "test_what_nobody_has_read_is_not_trimmed",
        of=(Promise.KILL, Promise.TRIM),
    ),
    Mutation(
        "a lost connection's commands are said to have done nothing",
        "common/redis/client.py",
        'was lost ({type(error).__name__})", outcome_unknown=True\n',
        'was lost ({type(error).__name__})"\n',
        "tests/integration/test_redis_client.py::test_a_cut_connection_fails_what_is_under_way_as_unknown",
        of=(Promise.ONE_ROW, Trap.RETRIES),
    ),
    Mutation(
        "a function library that was lost stays lost",
        "common/redis/functions.py",
        '            if "Function not found" not in str(error):\n                raise\n',
        "            raise\n",
        "tests/integration/test_log.py::test_a_lost_function_library_is_loaded_again",
        of=(Trap.NOSCRIPT,),
    ),
    Mutation(
        "an older program's function library is used",
        "common/redis/server.py",
        "    if not await functions.is_current():\n        await functions.load()\n",
        "",
        "tests/integration/test_redis_server.py::test_an_older_library_is_replaced",
        of=(Trap.NOSCRIPT,),
    ),
    Mutation(
        "writer: positions of partitions are locked in the order of their events",
        "common/postgres/changes.py",
        "        dict(sorted(positions.items())),\n",
        "        positions,\n",
        "tests/races/test_writer_races.py::test_batches_of_partitions_in_opposite_orders_do_not_deadlock",
        of=(Trap.DEADLOCK,),
    ),
    Mutation(
        "power: our own Redis syncs once a second",
        "tools/embedded/valkey.py",
        '"appendfsync": "always"',
        '"appendfsync": "everysec"',
        WEAKER,
        of=(Promise.POWER,),
    ),
    Mutation(
        "power: our own Redis keeps no file",
        "tools/embedded/valkey.py",
        '"appendonly": "yes"',
        '"appendonly": "no"',
        WEAKER,
        of=(Promise.KILL, Promise.POWER),
    ),
    Mutation(
        "power: our own PostgreSQL does not sync",
        "tools/embedded/postgres.py",
        '        "max_connections": "200",\n',
        '        "max_connections": "200",\n        "fsync": "off",\n',
        "tests/e2e/test_up_permissions.py::test_what_it_starts_may_lose_nothing",
        of=(Promise.POWER,),
    ),
    Mutation(
        "power: a Redis without a file is not warned of",
        "common/redis/durability.py",
        '    if append_only != "yes":\n',
        "    if False:\n",
        WEAKER,
        of=(Promise.POWER,),
    ),
    Mutation(
        "power: a PostgreSQL that does not sync is not warned of",
        "common/postgres/durability.py",
        '    "fsync": Weakness("postgres_fsync_off", _CORRUPTS, "fsync = on"),\n',
        "",
        "tests/integration/test_postgres_durability.py::"
        "test_each_weaker_setting_is_named_with_what_it_may_lose",
        of=(Promise.POWER,),
    ),
    Mutation(
        "power: a persister keeps to itself what is weaker",
        "services/persister/__main__.py",
        "        await warn_of_weaknesses(pool)\n",
        "",
        "tests/integration/test_postgres_durability.py::test_a_persister_says_at_its_start_what_is_weaker",
        of=(Promise.POWER,),
    ),
    Mutation(
        "power: compose.yaml's Redis syncs once a second",
        "compose.yaml",
        "      - --appendfsync\n      - always\n",
        "      - --appendfsync\n      - everysec\n",
        "tests/integration/test_compose.py::test_redis_is_durable_bounded_and_never_evicts",
        of=(Promise.POWER,),
    ),
    Mutation(
        "a server that may evict the log is used",
        "common/redis/server.py",
        '    if policy.startswith("allkeys"):\n',
        "    if False:\n",
        "tests/integration/test_redis_server.py::test_a_policy_that_may_evict_the_log_is_refused",
        of=(Promise.KILL, Promise.TRIM),
    ),
    Mutation(
        "a full disk is taken for poison",
        "common/postgres/outages.py",
        'frozenset({"22", "23", "54"})',
        'frozenset({"22", "23", "53", "54"})',
        "tests/unit/test_outages.py",
        of=(Promise.POISON, Promise.AWAY),
    ),
    Mutation(
        "a PostgreSQL that is away is a failure of ours",
        "common/postgres/outages.py",
        '        raise StoreUnavailable(f"PostgreSQL is not available ({describe(error)})") from error\n',
        "        raise\n",
        "tests/integration/test_store.py::test_a_database_that_is_away_is_an_outage",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "a Redis without room is a failure of ours",
        "common/redis/client.py",
        '    if isinstance(error, OutOfMemoryError) or str(error).startswith(("OOM", ',
        "    if str(error).startswith((",
        "tests/integration/test_log.py::test_full_memory_refuses_an_append_before_acknowledging",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "busy: no time to retry after",
        "services/gateway/problems.py",
        'headers={"Retry-After": str(max(1, seconds))}',
        "headers={}",
        "tests/integration/gateway/test_overload.py::test_a_backlog_over_its_bound_is_a_503_that_says_so",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "input: NaN and Infinity are let in",
        "common/checks/json_text.py",
        "        value = from_json(raw, allow_inf_nan=False)\n",
        "        value = from_json(raw, allow_inf_nan=True)\n",
        BAD_INPUT,
        of=(Promise.INPUT, Trap.BAD_INPUT),
    ),
    Mutation(
        "input: a number too large to stay finite is let in",
        "common/checks/messages.py",
        '        elif b"Infinity" in message.body:\n',
        "        elif False:\n",
        BAD_INPUT,
        of=(Promise.INPUT, Trap.BAD_INPUT),
    ),
    Mutation(
        "input: any depth is let in",
        "common/checks/json_text.py",
        "> max_depth and _depth(raw) > max_depth:\n",
        "> max_depth and False:\n",
        BAD_INPUT,
        of=(Promise.INPUT, Trap.BAD_INPUT),
    ),
    Mutation(
        "input: NUL in a key is let in",
        "common/checks/json_text.py",
        '        if isinstance(key, str) and "\\0" in key:\n',
        "        if False:\n",
        BAD_INPUT,
        of=(Promise.INPUT, Trap.BAD_INPUT),
    ),
    Mutation(
        "input: half of a surrogate pair is no JSON, and a 400",
        "common/checks/json_text.py",
        '    if "surrogate" in reason or "hex escape" in reason:\n',
        "    if False:\n",
        BAD_INPUT,
        of=(Promise.INPUT, Trap.BAD_INPUT),
    ),
    Mutation(
        "permissions: a local user needs no password",
        "tools/embedded/postgres.py",
        '        "--auth=scram-sha-256",\n',
        '        "--auth=trust",\n',
        EMBEDDED + "test_every_connection_to_postgresql_needs_the_password",
        of=(Trap.PERMISSIONS,),
    ),
    Mutation(
        "permissions: PostgreSQL has a socket in a directory of all",
        "tools/embedded/postgres.py",
        '        "unix_socket_directories": "",\n',
        '        "unix_socket_directories": "/tmp",\n',
        EMBEDDED + "test_every_connection_to_postgresql_needs_the_password",
        of=(Trap.PERMISSIONS,),
    ),
    Mutation(
        "permissions: what lies above the data is opened, as the wheel's starter does",
        "tools/embedded/home.py",
        "    shared = shared_directory(account)\n",
        # No more than the test's own directory: this is run as root.
        "    for above in data_dir.parents:\n"
        '        if above.name == "private":\n            above.chmod(0o755)\n'
        "    shared = shared_directory(account)\n",
        "tests/e2e/test_up_permissions.py::test_no_permission_above_the_data_is_changed",
        of=(Trap.PERMISSIONS,),
    ),
    Mutation(
        "permissions: as root a server runs as root",
        "tools/embedded/guard.py",
        "    server = _start(options.command, signals[0], server_account())\n",
        '    account = server_account() if "postgres" in options.command[0] else None\n'
        "    server = _start(options.command, signals[0], account)\n",
        "tests/e2e/test_up_permissions.py::test_as_root_no_server_runs_as_root",
        of=(Trap.PERMISSIONS,),
    ),
    Mutation(
        "orphans: SIGTERM ends `up` at once",
        "common/runtime.py",
        "STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)",
        "STOP_SIGNALS = (signal.SIGINT, signal.SIGHUP)",
        "tests/e2e/test_up.py::test_a_signal_stops_everything",
        of=(Trap.ORPHANS,),
    ),
    Mutation(
        "orphans: a guard does not notice that its parent is gone",
        "tools/embedded/guard.py",
        "    exit_with_parent(grace_seconds=_ORPHAN_GRACE_SECONDS)\n",
        "",
        EMBEDDED + "test_a_server_ends_with_the_process_that_asked_for_it",
        of=(Trap.ORPHANS,),
    ),
    Mutation(
        "orphans: a server outlives its guard",
        "tools/embedded/guard.py",
        "        if on_linux:\n",
        "        if False:\n",
        EMBEDDED + "test_a_server_ends_with_its_guard",
        of=(Trap.ORPHANS,),
    ),
    Mutation(
        "orphans: a server is started beside what a crash left",
        "tools/embedded/guard.py",
        "    stop_leftover(options.pid_file, signals)\n",
        "",
        EMBEDDED + "test_what_an_earlier_guard_left_is_stopped_before_a_server_starts",
        of=(Trap.ORPHANS,),
    ),
    Mutation(
        "orphans: a leftover is taken for ours by its number alone",
        "tools/embedded/guard.py",
        "        if abs(leftover.create_time() - float(started)) > 1.0:\n            return\n",
        "",
        EMBEDDED + "test_what_an_earlier_guard_left_is_stopped_before_a_server_starts",
        of=(Trap.ORPHANS,),
    ),
    Mutation(
        "orphans: a leftover that does not heed is given up",
        "tools/embedded/guard.py",
        "contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired)",
        "contextlib.suppress(psutil.NoSuchProcess)",
        EMBEDDED + "test_a_leftover_that_does_not_heed_is_killed",
        of=(Trap.ORPHANS,),
    ),
)

"""The defences of replays: nothing twice, nothing back, nothing left out."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise, Trap

REPLAY: Final = "tests/integration/test_replay.py::"
COMMAND: Final = "tests/integration/test_replay_command.py::"
TELLING: Final = "tests/integration/test_replay_telling.py::"
RETELLING: Final = "tests/properties/test_retelling.py::test_rows_told_as_events_are_the_same_rows"

MUTATIONS: Final = (
    Mutation(
        "replay: another database is told positions of our log",
        "tools/replay/parts.py",
        "    return RecordTarget(BatchWriter(pool), positions=False)\n",
        "    return RecordTarget(BatchWriter(pool), positions=True)\n",
        COMMAND + "test_killed_and_started_again_it_goes_on",
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "replay: an entry gets a new position in another log",
        "tools/replay/to_stream.py",
        '"XADD", events, item.position, *item.fields',
        '"XADD", events, "*", *item.fields',
        REPLAY + "test_another_log_gets_each_entry_once",
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "replay: one poison event takes its batch with it",
        "tools/replay/targets.py",
        "            elif len(part) > 1:\n",
        "            elif False:\n",
        REPLAY + "test_a_poison_event_is_reported_and_skipped",
        of=(Promise.POISON,),
    ),
    Mutation(
        "replay: an event in another user's partition is taken",
        "tools/replay/from_log.py",
        "        if home != partition:\n",
        "        if False:\n",
        REPLAY + "test_an_event_in_another_users_partition_is_poison",
        of=(Promise.POISON,),
    ),
    Mutation(
        "replay: a conversation counts as done before it is",
        "tools/replay/from_record.py",
        '(before or ("", "00000000-0000-0000-0000-000000000000"))',
        '(row["user_id"], row["id"])',
        REPLAY + "test_a_killed_replay_goes_on",
        of=(Promise.KILL,),
    ),
    Mutation(
        "replay: another replay's checkpoint is believed",
        "tools/replay/checkpoint.py",
        "        if content.run != self._run:\n",
        "        if False:\n",
        REPLAY + "test_another_replays_checkpoint_is_refused",
    ),
    Mutation(
        "replay: a header with pending events is dropped with the rest",
        "common/redis/lua/replay.lua",
        "  if redis.call('EXISTS', k.pending) == 1 then\n    redis.call('HSET', k.header, STALE, '1')\n",
        "  if false then\n    redis.call('HSET', k.header, STALE, '1')\n",
        REPLAY + "test_caches_keep_what_only_redis_knows",
        of=(Promise.READ_YOUR_WRITES, Trap.REBUILD_APPEND),
    ),
    Mutation(
        "replay: its own log is taken for another one",
        "tools/replay/elsewhere.py",
        "        if await _runs(client) & await _own_runs(settings):\n",
        "        if False:\n",
        COMMAND + "test_the_own_redis_is_no_other_log",
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "retelling: an edited message is told as an append",
        "common/postgres/retelling.py",
        '        if message["edited"]:\n',
        "        if False:\n",
        RETELLING,
        of=(Promise.ONE_ROW,),
    ),
    Mutation(
        "retelling: numbers that were given are not told",
        "common/postgres/retelling.py",
        '        events.append(_counters(row, row["version"], row["last_modified_ms"]))\n',
        "        pass\n",
        RETELLING,
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "retelling: tombstones are not told",
        "common/postgres/retelling.py",
        "            yield told.noting([removal(row, tombstone) for tombstone in tombstones])\n",
        "            yield []\n",
        RETELLING,
        of=(Promise.DELETE,),
    ),
    Mutation(
        "retelling: a deleted conversation is told alive first",
        "common/postgres/retelling.py",
        "            yield last_events(row, Told())",
        "            yield [*first_events(row), *last_events(row, Told())]",
        TELLING + "test_what_was_published_is_told_without_anything_more",
        of=(Promise.DELETE,),
    ),
    Mutation(
        "retelling: counters are told that follow from the rest",
        "common/postgres/retelling.py",
        "    if not told.covers(row):\n",
        "    if True:\n",
        TELLING + "test_what_was_published_is_told_without_anything_more",
    ),
    Mutation(
        "telling: a log is filled until it refuses users",
        "common/redis/lua/pressure.lua",
        "over_bound(gauges, SPARE)",
        "over_bound(gauges, 1)",
        TELLING + "test_half_of_the_backlog_is_left_to_users",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "telling: the beginning of a batch that has to wait is told again and again",
        "tools/replay/to_stream.py",
        "in _calls(items[self._told :]):",
        "in _calls(items):",
        TELLING + "test_what_was_told_is_not_told_again_because_the_rest_has_to_wait",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "telling: what is told at once is bounded in number only",
        "tools/replay/to_stream.py",
        " or size + more > _BYTES_AT_ONCE\n",
        "\n",
        TELLING + "test_what_is_told_at_once_is_bounded_in_bytes_whatever_is_told",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "telling: a log that came back older is written to before it is inspected",
        "tools/replay/elsewhere.py",
        "        if await is_overdue(ask, keys, await served_by(ask, keys, clustered=clustered)):\n",
        "        if False:\n",
        TELLING + "test_a_log_that_was_not_inspected_since_its_restart_is_not_written_to",
        of=(Trap.OLDER_REDIS,),
    ),
    Mutation(
        "telling: events of one user go on the log of another's partition",
        "tools/replay/to_stream.py",
        "            item.partition != partition or len",
        "            len",
        TELLING + "test_an_empty_log_gets_what_makes_the_same_rows",
        of=(Promise.ONE_ORDER,),
    ),
    Mutation(
        "telling: verify takes what was told of a message that is gone for a lost event",
        "common/postgres/audit.py",
        "        case MessageDeleted(version=0):\n",
        "        case MessageDeleted(version=-1):\n",
        TELLING + "test_a_full_database_and_its_caches_do_not_notice",
    ),
)

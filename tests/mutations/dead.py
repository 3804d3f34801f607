"""The defences around poison: the breaker, the dead letters, the commands over them."""

from typing import Final

from tests.mutations.mutation import Mutation

POISON: Final = "tests/integration/test_poison.py::"
DRAIN: Final = "tests/integration/test_drain.py::"
DEAD: Final = "tests/integration/test_dead.py::"

MUTATIONS: Final = (
    Mutation(
        "poison: no breaker, everything is parked",
        "services/persister/breaker.py",
        "total >= self._settings.breaker_min_events and share >=",
        "share > 1 and share >=",
        POISON + "test_nothing_but_poison_opens_the_breaker_and_parks_nothing",
    ),
    Mutation(
        "poison: parked as it is found, before the whole batch is judged",
        "services/persister/recorder.py",
        "        opens = self._breaker.would_open(stored=outcome.stored, refused=len(held) + len(left))\n",
        "        for entry, error in refused:\n            await self._park(entry, error)\n"
        "        opens = self._breaker.would_open(stored=outcome.stored, refused=len(held) + len(left))\n",
        POISON + "test_the_breaker_closes_by_itself_when_the_cause_is_gone",
    ),
    Mutation(
        "poison: small batches are judged by themselves",
        "services/persister/breaker.py",
        "        self._recent.extend((now, refused) for _ in range(min(count, self._recent.maxlen or 0)))\n",
        "        pass\n",
        "tests/unit/test_breaker.py::test_a_small_batch_is_judged_with_what_came_before",
    ),
    Mutation(
        "poison: a restart makes the breaker forget what was parked",
        "services/persister/__main__.py",
        "    breaker.remember(await lately_parked(group, keys, settings.persister))\n",
        "",
        POISON + "test_a_trickle_of_poison_opens_the_breaker_too",
    ),
    Mutation(
        "poison: an open breaker is not tried again",
        "services/persister/persister.py",
        "            if held and self._breaker.seconds_to_probe > 0:\n",
        "            if held:\n",
        POISON + "test_the_breaker_closes_by_itself_when_the_cause_is_gone",
    ),
    Mutation(
        "poison: an open breaker holds good events up",
        "services/persister/persister.py",
        "                entries, waiting = fresh, held\n",
        "                entries, waiting = [], [*held, *fresh]\n",
        POISON + "test_good_events_go_on_and_close_the_breaker",
    ),
    Mutation(
        "poison: what is held back has no bound",
        "services/persister/persister.py",
        "        return max(0, self._batch_events - len(held))\n",
        "        return self._batch_events\n",
        POISON + "test_what_is_held_back_is_bounded",
    ),
    Mutation(
        "poison: a batch of nothing else is tried to its last event",
        "services/persister/trial.py",
        "            if not sampled and len(outcome.refused) >= self._sample:\n",
        "            if False:\n",
        "tests/unit/test_trial.py::test_a_batch_of_nothing_else_is_given_up_soon",
    ),
    Mutation(
        "poison: the sample is taken where the poison is",
        "services/persister/trial.py",
        "        chosen = set(range(step // 2, len(rest), step))\n",
        "        chosen = set(range(self._sample))\n",
        "tests/unit/test_trial.py::test_poison_in_one_place_is_not_taken_for_all",
    ),
    Mutation(
        "poison: an event of very many fields ends the persister",
        "common/redis/lua/group.lua",
        "  if words > MAX_WORDS then\n",
        "  if false then\n",
        POISON + "test_an_event_with_more_fields_than_lua_can_pass_on_is_parked_whole",
    ),
    Mutation(
        "poison: an event in another user's partition is taken",
        "services/persister/recorder.py",
        "        if home != entry.partition:\n",
        "        if False:\n",
        POISON + "test_poison_is_parked_and_the_rest_is_stored",
    ),
    Mutation(
        "dead letters: a parked message's number is given again",
        "common/postgres/queries/write.sql",
        "SET next_sequence_number = GREATEST(next_sequence_number, $3), version = GREATEST(version, $4)\n",
        "SET next_sequence_number = next_sequence_number + 0 * ($3 + $4)\n",
        DEAD + "test_numbers_of_a_parked_message_are_never_given_again",
    ),
    Mutation(
        "dead letters: a header keeps the count of what was parked",
        "common/redis/lua/group.lua",
        "int(math.max(0, h.count + messages))",
        "int(h.count)",
        DEAD + "test_what_is_requeued_is_read_at_once_and_stored_once",
    ),
    Mutation(
        "dead letters: what is requeued is not pending",
        "common/redis/lua/group.lua",
        "  redis.call('RPUSH', k[2], position)\n",
        "",
        DEAD + "test_what_is_requeued_is_read_at_once_and_stored_once",
    ),
    Mutation(
        "dead letters: a requeue leaves the caches as they are",
        "common/redis/lua/group.lua",
        "  redis.call('UNLINK', k[4], k[5], k[6], k[7])\n  return h\n",
        "  return h\n",
        DEAD + "test_what_is_requeued_is_read_at_once_and_stored_once",
    ),
    Mutation(
        "dead letters: the tombstone of a parked deletion expires",
        "common/redis/lua/group.lua",
        "      if redis.call('HGET', k[1], 'deleted') == '1' then\n",
        "      if false then\n",
        DEAD + "test_a_deletion_that_is_parked_stays_a_deletion",
    ),
    Mutation(
        "dead letters: a list shows the server's text, which quotes users",
        "tools/dead/report.py",
        '        "error": letter.kind,\n',
        '        "error": letter.error,\n',
        DEAD + "test_a_list_says_which_and_why_and_nothing_that_a_user_wrote",
    ),
    Mutation(
        "dead letters: the event's fields as a client has them, doubles lost",
        "common/redis/lua/group.lua",
        "  local event = found and found[2] or args\n  local words, from = #event, found and 1 or first\n",
        "  local event = args\n  local words, from = #event, first\n",
        DEAD + "test_a_field_that_is_called_like_ours_stays_the_events",
    ),
    Mutation(
        "dead letters: dropped without being asked",
        "tools/dead/changes.py",
        "    if not may(\n",
        "    if not total and may(\n",
        DEAD + "test_dropping_asks_and_says_what_is_lost",
    ),
    Mutation(
        "drain: what was read counts as written",
        "tools/drain.py",
        "    return max(1, lag.waiting + lag.pending)\n",
        "    return lag.waiting\n",
        DRAIN + "test_an_open_breaker_is_named",
    ),
    Mutation(
        "drain: parked events are not mentioned",
        "tools/drain.py",
        "    if outcome.parked:\n        raise typer.Exit(PARKED)\n",
        "",
        DRAIN + "test_parked_events_have_a_status_of_their_own",
    ),
)

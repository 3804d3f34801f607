"""The defences around poison: the breaker, the dead letters, the commands over them."""

from typing import Final

from tests.mutations.mutation import Mutation

POISON: Final = "tests/integration/test_poison.py::"

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
)

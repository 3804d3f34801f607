"""What holds under an overload, and of an answer that was given already."""

from typing import Final

from tests.mutations.mutation import Mutation
from tests.mutations.promises import Promise

MUTATIONS: Final = (
    Mutation(
        "ack=persisted: a log that goes away while it is waited for makes an error of an acknowledged append",
        "common/authority/switching.py",
        "        except Busy:\n            return False\n",
        "        except ZeroDivisionError:\n            return False\n",
        "tests/integration/authority/test_persisted.py::test_an_append_that_is_on_the_log_is_a_202_without_redis",
        of=(Promise.AWAY,),
    ),
    Mutation(
        "pressure: no gateway tells the log its bounds",
        "services/gateway/worker.py",
        "asker.listen(), pressure.watch()):",
        "asker.listen()):",
        "tests/integration/gateway/test_overload.py::test_a_backlog_over_its_bound_is_a_503_that_says_so",
        of=(Promise.PRESSURE,),
    ),
    Mutation(
        "durability: status has no notes of weaker servers",
        "tools/status/collect.py",
        "        notes=[*notes_of(redis), *await durability_notes(settings)],\n",
        "        notes=notes_of(redis),\n",
        "tests/integration/test_status.py::test_weaker_servers_are_notes_and_no_problems",
        of=(Promise.POWER,),
    ),
)

"""The workload's parts that need no server."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.caller import outcome_of
from tests.chaos.gate import Gate
from tests.chaos.history import Outcome
from tests.chaos.plan import Action, plan
from tests.chaos.tags import make_tag, tag_of, text_of, user_of


def test_a_seed_gives_a_client_the_same_plan_again() -> None:
    """And another client, or another seed, another one."""

    def steps(seed: int, client: int) -> list[object]:
        return [step for step, _ in zip(plan(seed, client), range(500), strict=False)]

    assert steps(7, 1) == steps(7, 1)
    assert steps(7, 1) != steps(7, 2)
    assert steps(7, 1) != steps(8, 1)


def test_every_action_is_planned() -> None:
    """None is too rare to be met within some thousand steps."""
    planned = {step.action for step, _ in zip(plan(1, 1), range(5000), strict=False)}

    assert planned == set(Action)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK),
        (201, Outcome.OK),
        (202, Outcome.OK),
        (204, Outcome.OK),
        (404, Outcome.REFUSED),
        (409, Outcome.REFUSED),
        (422, Outcome.REFUSED),
        (429, Outcome.REFUSED),
        (408, Outcome.UNKNOWN),
        (500, Outcome.UNKNOWN),
        (502, Outcome.UNKNOWN),
        (503, Outcome.UNKNOWN),
    ],
)
def test_only_what_is_certain_counts_as_refused(status: int, outcome: Outcome) -> None:
    """A 5xx may have been done: the log answers 503 where a reply was lost."""
    assert outcome_of(status) is outcome


def test_a_text_tells_whether_it_is_whole() -> None:
    """Its tag says what the rest must be, and whose it is."""
    tag = make_tag("chaos-1-2", "3.4", 5)

    assert tag_of({"content": text_of(tag)}) == tag
    assert user_of(tag) == "chaos-1-2"
    for damaged in (text_of(tag)[:-1], text_of(tag) + "x", "", None, ["parts"]):
        assert user_of(tag_of({"content": damaged})) == ""


async def test_a_paused_gate_lets_who_is_inside_finish() -> None:
    """It is idle when the last one is through, and stays so until it is resumed."""
    gate, leave, passed = Gate(), asyncio.Event(), 0

    async def call() -> None:
        nonlocal passed
        async with gate.call():
            passed += 1
            await leave.wait()

    calls = [asyncio.create_task(call())]
    await asyncio.sleep(0)
    gate.pause()
    calls.append(asyncio.create_task(call()))
    idle = asyncio.create_task(gate.idle())
    await asyncio.sleep(0)
    assert (gate.under_way, passed, idle.done()) == (1, 1, False)
    leave.set()
    await idle
    assert (gate.under_way, passed) == (0, 1)
    gate.resume()
    await asyncio.gather(*calls)
    assert passed == 2

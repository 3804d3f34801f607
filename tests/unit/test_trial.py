"""Which events of a batch are refused is found out, at a price that stays sane."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.persister.trial import Outcome, Trial

POISON = ValueError("poison")


async def tried(poison: set[int], of: int, *, sample: int = 20) -> tuple[Outcome[int], list[list[int]]]:
    """A batch of the numbers below `of`, and each write that was tried."""
    writes: list[list[int]] = []

    async def write(items: Sequence[int]) -> Exception | None:
        writes.append(list(items))
        return POISON if poison & set(items) else None

    trial = Trial(write, sample=sample, hopeless=lambda stored, refused: refused >= stored)
    return await trial.run(range(of)), writes


@given(st.sets(st.integers(0, 79)), st.integers(0, 80), st.integers(1, 30))
async def test_each_item_is_stored_refused_or_left_untried(poison: set[int], of: int, sample: int) -> None:
    """Exactly one of the three, refused only if it is poison, stored once and only if it is not."""
    outcome, writes = await tried(poison, of, sample=sample)
    stored = [item for written in writes if not poison & set(written) for item in written]
    refused = [item for item, _ in outcome.refused]
    assert sorted([*stored, *refused, *outcome.untried]) == list(range(of))
    assert outcome.stored == len(stored)
    assert set(refused) <= poison
    assert not poison & set(stored)


@pytest.mark.parametrize(
    ("poison", "most_writes"),
    [
        (set[int](), 1),
        ({0}, 21),
        ({999}, 21),
        (set(range(500, 510)), 40),
        (set(range(0, 1000, 100)), 150),
        (set(range(100)), 250),
        (set(range(0, 1000, 10)), 900),
    ],
)
async def test_the_price_follows_the_poison(poison: set[int], most_writes: int) -> None:
    """A thousand events: nothing is left untried while most are good, and few writes are wasted."""
    outcome, writes = await tried(poison, 1000)
    assert {item for item, _ in outcome.refused} == poison
    assert outcome.untried == []
    assert len(writes) <= most_writes


async def test_a_batch_of_nothing_else_is_given_up_soon() -> None:
    """A sample is enough to know: not two thousand transactions that all fail."""
    outcome, writes = await tried(set(range(1000)), 1000)
    assert len(outcome.untried) > 900
    assert len(writes) < 100


async def test_poison_in_one_place_is_not_taken_for_all() -> None:
    """A hundred at the beginning are a tenth of the batch; the sample is taken from everywhere else."""
    outcome, _ = await tried(set(range(100)), 1000)
    assert outcome.stored == 900

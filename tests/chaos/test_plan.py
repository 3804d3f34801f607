"""What the nemesis is going to do, and what it takes for its own doing."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path

from tests.chaos.aof import cut_back
from tests.chaos.deaths import Deaths
from tests.chaos.faults.catalogue import DEFAULT
from tests.chaos.nemesis import decks
from tests.chaos.options import parse


def test_every_kind_comes_round_as_often_as_its_turns_say() -> None:
    """In every round, whatever the seed."""
    turns = {kind.name: kind.turns for kind in DEFAULT}
    deck = decks(DEFAULT, random.Random(1))
    for _ in range(3):
        assert Counter(kind.name for kind in islice(deck, sum(turns.values()))) == turns


def test_a_seed_is_a_plan() -> None:
    """The same again, and another one for another seed."""
    plans = [[kind.name for kind in islice(decks(DEFAULT, random.Random(seed)), 50)] for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_the_command_that_is_printed_repeats_the_run() -> None:
    """Every option that changes what happens is in it."""
    words = "--minutes 2 --seed 7 --faults kill-redis,link-cut --pace 50 --users 2 --longest 3 --clients 5"
    given = parse(words.split())
    assert parse(given.command.split()[2:]) == given


def test_a_death_that_was_not_announced_is_a_finding() -> None:
    """Announced ones are used up; what a fault may bring down is forgiven while it lasts."""
    told: list[str] = []
    deaths = Deaths(told.append)
    deaths.ended("persister-1", "before the attack")
    deaths.begin()
    deaths.expect("persister-1")
    deaths.ended("persister-1", "killed")
    deaths.ended("persister-1", "by itself")
    deaths.tolerate("postgres")
    deaths.ended("postgres", "out of space")
    deaths.tolerate_no_more("postgres")
    deaths.ended("postgres", "by itself, too")
    assert deaths.unexpected == told == ["by itself", "by itself, too"]


def test_an_append_only_file_is_cut_back_to_the_end_of_a_second(tmp_path: Path) -> None:
    """Whole commands stay, and so does the mark of nothing that is gone."""
    seconds = [b"#TS:%d\r\n*2\r\n$4\r\nINCR\r\n$1\r\n%d\r\n" % (100 + n, n) for n in range(10)]
    (tmp_path / "log.1.base.rdb").write_bytes(b"REDIS")
    (tmp_path / "log.1.incr.aof").write_bytes(b"".join(seconds))
    (tmp_path / "log.manifest").write_text(
        "file log.1.base.rdb seq 1 type b\nfile log.1.incr.aof seq 1 type i\n"
    )
    cut = cut_back(tmp_path, 3)
    assert (tmp_path / "log.1.incr.aof").read_bytes() == b"".join(seconds[:7])
    assert (cut.had_until, cut.kept_until, cut.bytes_lost) == (109, 106, len(b"".join(seconds[7:])))
    cut_back(tmp_path, 60)
    assert (tmp_path / "log.1.incr.aof").read_bytes() == b""

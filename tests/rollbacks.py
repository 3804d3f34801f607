"""Cuts a Redis's file back, again and again, under PostgreSQL that has everything; prints what came of it.

.venv/bin/python -m tests.rollbacks --times 20 [--seed S]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import sys
import time
from dataclasses import dataclass, field

import structlog
from pydantic import SecretStr
from pydantic_core import from_json

from common.domain.ids import ConversationId
from common.domain.messages import numbered
from common.settings import IdentitySettings, PostgresSettings, RedisSettings, Settings
from tests.persisters import running_persister
from tests.redis_parts import ALICE
from tests.rolled_back import OwnRedis, Process, own_redis, process
from tests.servers import running_servers


@dataclass
class Report:
    """What was given out and what is there, over all rounds."""

    numbers: dict[tuple[ConversationId, int], str] = field(default_factory=dict)
    reused: int = 0
    lost: int = 0
    stale: int = 0

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.reused or self.lost or self.stale)

    def given(self, conversation: ConversationId, number: int, text: str) -> None:
        """A number was given to a message, in the answer to its append."""
        if self.numbers.setdefault((conversation, number), text) != text:
            self.reused += 1


async def rounds(settings: Settings, redis: OwnRedis, *, times: int, seed: int, seconds: float) -> Report:
    """`times` times: append for a while, let PostgreSQL have it all, cut back, look, go on."""
    chance = random.Random(seed)
    report = Report()
    # What the persister before had read, by the older log, is to be claimed at once.
    hurried = settings.persister.model_copy(update={"claim_min_idle_seconds": 0.5, "block_ms": 50})
    settings = settings.model_copy(update={"persister": hurried})
    async with process(settings) as old:
        conversations = [await old.conversation() for _ in range(8)]
        for nth in range(times):
            async with running_persister(settings):
                marks = await _write_for(
                    old, conversations, redis, report, name=f"{nth}", seconds=seconds, chance=chance
                )
                await old.settled()
            at, size = chance.choice(marks)
            cut_seconds = time.monotonic() - at
            lost_events = await _events(old)
            await redis.cut_back(size)
            async with process(settings) as new:
                await _compare(old, new, conversations, report)
                lost_events -= await _events(old)
            say(
                f"{nth + 1:3}  cut back {cut_seconds:4.1f} s, {lost_events:5} events lost from the log,"
                f" numbers reused {report.reused}, rows lost {report.lost}, stale reads {report.stale}"
            )
    return report


async def _write_for(
    one: Process,
    conversations: list[ConversationId],
    redis: OwnRedis,
    report: Report,
    *,
    name: str,
    seconds: float,
    chance: random.Random,
) -> list[tuple[float, int]]:
    """Append to random conversations for `seconds`; moments, and how long the file was at each."""
    until = time.monotonic() + seconds
    marks: list[tuple[float, int]] = []
    count = 0
    while time.monotonic() < until:
        marks.append((time.monotonic(), redis.size()))
        texts = [(chance.choice(conversations), f"{name}.{count + i}") for i in range(8)]
        count += len(texts)
        numbers = await asyncio.gather(*(one.append(*pair) for pair in texts))
        for (conversation, text), number in zip(texts, numbers, strict=True):
            report.given(conversation, number, text)
    return marks


async def _compare(old: Process, new: Process, conversations: list[ConversationId], report: Report) -> None:
    """What was answered, what readers see through an old and a new process, what PostgreSQL has."""
    query = "SELECT sequence_number, payload FROM messages WHERE conversation_id = $1 ORDER BY 1"
    listed = await old.listed(), await new.listed()
    report.stale += sum(seen != set(conversations) for seen in listed)
    for conversation in conversations:
        rows = await old.pool.fetch(query, conversation)
        stored = {row[0]: from_json(row[1])["content"] for row in rows}
        wanted = {n: text for (c, n), text in report.numbers.items() if c == conversation}
        report.lost += sum(stored.get(number) != text for number, text in wanted.items())
        for reader in (old, new):
            seen = await reader.parts.history.recent(ALICE, conversation, 20)
            newest = {(m := numbered(s)).sequence_number: from_json(m.body)["content"] for s in seen}
            report.stale += newest != dict(sorted(stored.items())[-20:])


async def _events(one: Process) -> int:
    return await one.client.call("XLEN", one.keys.events(one.keys.partition(ALICE)))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(times: int, seed: int, seconds: float) -> int:
    """Run on servers of our own; 1 where a promise was broken."""
    from common.postgres.migrations import migrate

    with running_servers() as servers, own_redis() as redis:
        await migrate(servers.admin_dsn)
        settings = Settings(
            redis=RedisSettings(url=SecretStr(redis.dsn)),
            postgres=PostgresSettings(url=SecretStr(servers.admin_dsn)),
            identity=IdentitySettings(jwt_secret=SecretStr(secrets.token_hex(16))),
        )
        report = await rounds(settings, redis, times=times, seed=seed, seconds=seconds)
    say(
        f"seed {seed}: {times} roll-backs, {len(report.numbers)} messages, numbers reused {report.reused},"
        f" rows lost {report.lost}, stale reads {report.stale}"
    )
    return 0 if report.good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="of appends in each round")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(asyncio.run(main(arguments.times, arguments.seed, arguments.seconds)))

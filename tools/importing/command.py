"""`turnlog import`: read files, publish, say what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from common.authority.opening import open_record
from common.domain.errors import UnsafeConfiguration
from common.domain.ids import UserId, parse_user_id
from common.observability.logging import configure_logging, quiet
from common.ports import PublisherPort
from common.postgres.pool import Pool, open_pool
from common.settings import Settings
from tools.connections import Connections, connected
from tools.errors import CommandError
from tools.importing.importer import Importer
from tools.importing.lines import read_lines
from tools.importing.progress import shown_progress
from tools.importing.tally import Tally, summary
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir
from tools.settling import STALL_SECONDS, log_ends, outstanding, wait_settled

Files = Annotated[
    list[Path],
    typer.Argument(
        help="JSONL: one conversation a line, with conversation_id, user_id, messages.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]


Publish = Callable[[PublisherPort], Awaitable[tuple[Tally, float]]]


def import_command(
    files: Files,
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    user: Annotated[str | None, typer.Option(help="Import everything for this user instead.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that is refused.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until PostgreSQL has everything.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Conversations under way at once.")] = 32,
) -> None:
    """Import conversations. Importing again changes nothing: what is there already is left alone."""
    settings = load_instance(data_dir)
    configure_logging("import", quiet(settings.observability))
    owner = parse_user_id(user) if user is not None else None
    if user is not None and owner is None:
        raise CommandError("--user must be 1 to 200 characters, none of them a control character")

    async def publish(publisher: PublisherPort) -> tuple[Tally, float]:
        return await _publish(publisher, settings, files, owner, strict=strict, concurrency=concurrency)

    async def run() -> Tally:
        if not settings.uses_redis:
            async with open_pool(settings.postgres, application_name="turnlog-import") as pool:
                return await _in_record(settings, pool, publish)
        async with connected(settings, "import", publishing=True) as connections:
            tally, seconds = await publish(connections.conversations.publisher)
            if wait and tally.conversations:
                await _settle(connections, tally, seconds)
            return tally

    try:
        tally = uvloop.run(run())
    except KeyboardInterrupt:
        raise CommandError("interrupted; run the same command again to import the rest") from None
    if tally.refused:
        raise typer.Exit(1)


async def _in_record(settings: Settings, pool: Pool, publish: Publish) -> Tally:
    """Import into PostgreSQL alone, which a process that uses a log would not notice."""
    task = asyncio.current_task()

    def give_up(_: UnsafeConfiguration) -> None:
        if task is not None:
            task.cancel()

    try:
        async with open_record(settings, pool, name="import", give_up=give_up) as conversations:
            return (await publish(conversations.publisher))[0]
    except UnsafeConfiguration as error:
        raise CommandError(str(error)) from error


async def _publish(
    publisher: PublisherPort,
    settings: Settings,
    files: list[Path],
    user: UserId | None,
    *,
    strict: bool,
    concurrency: int,
) -> tuple[Tally, float]:
    """Publish every line and say what came of it; with the seconds that it took."""
    began = time.monotonic()
    with shown_progress(sum(path.stat().st_size for path in files)) as progress:
        importer = Importer(
            publisher,
            settings.limits,
            progress,
            user=user,
            strict=strict,
            concurrency=concurrency,
        )
        await importer.run(read_lines(files))
    seconds = time.monotonic() - began
    print(summary(importer.tally, seconds))
    return importer.tally, seconds


async def _settle(connections: Connections, tally: Tally, publishing_seconds: float) -> None:
    group, partitions = connections.group, connections.keys.partitions
    ends = await log_ends(group, partitions)
    if not tally.nothing_new:
        print(f"lag when all was published: {await outstanding(group, partitions):,} events")
    began = time.monotonic()
    if not await wait_settled(group, ends):
        left = await outstanding(group, partitions)
        print(
            f"PostgreSQL does not have all of it yet: {left:,} events wait on the log, and none was taken"
            f" for {STALL_SECONDS:.0f} s. Nothing is lost; is a persister running?"
        )
        return
    if tally.nothing_new:
        return
    seconds = time.monotonic() - began
    rate = tally.messages / (publishing_seconds + seconds)
    print(f"in PostgreSQL {seconds:.1f} s later: {rate:,.0f} messages/s end to end")

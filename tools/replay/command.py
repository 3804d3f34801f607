"""`turnlog replay`: read events again, put them where they are wanted, say what came of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from common.domain.errors import Busy
from common.observability.logging import configure_logging, quiet
from common.settings import Settings
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir
from tools.replay.checkpoint import Checkpoint
from tools.replay.options import From, Route, To, run_of, selection_of
from tools.replay.parts import opened
from tools.replay.progress import shown_progress
from tools.replay.run import Replay
from tools.replay.selection import Selection
from tools.replay.tally import Tally, summary
from tools.replay.targets import NowhereTarget


def replay(
    *,
    source: Annotated[From, typer.Option("--from", help="The stream, or the rows of PostgreSQL.")],
    target: Annotated[To, typer.Option("--to", help="Where the events go.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database_url: Annotated[
        str | None, typer.Option("--target-database-url", help="Another, migrated database.")
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option("--target-redis-url", help="Another instance's Redis.")
    ] = None,
    partition: Annotated[int | None, typer.Option(help="Only this partition.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Only conversations with this id.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time or date (UTC) on.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time or date (UTC).")] = None,
    first: Annotated[str | None, typer.Option(help="From this position on the log on.")] = None,
    last: Annotated[str | None, typer.Option(help="Up to this position, which is included.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    rate: Annotated[int | None, typer.Option(min=1, help="At most so many events a second.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where to note how far it came.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever was noted.")] = False,
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="Stop at the first event that is refused.")
    ] = False,
) -> None:
    """Replay events. Nothing is there twice after, and nothing deleted comes back."""
    route = Route(source, target, database_url, redis_url)
    route.check()
    selection = selection_of(
        route,
        partition=partition,
        user=user,
        conversation=conversation,
        since=since,
        until=until,
        first=first,
        last=last,
    )
    settings = load_instance(data_dir)
    configure_logging("replay", quiet(settings.observability))
    noted = None if dry_run else _checkpoint(checkpoint, data_dir, route, selection, settings)
    if noted and restart:
        noted.remove()
    run = _run(settings, route, selection, noted, dry_run=dry_run, rate=rate, stop_on_error=stop_on_error)
    try:
        tally = uvloop.run(run)
    except KeyboardInterrupt:
        raise CommandError("interrupted; run the same command again to go on") from None
    except BrokenPipeError:
        # What is left in the buffer would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("nobody reads the output any more") from None
    except Busy as error:
        raise CommandError(f"{error}. Run the same command again to go on.") from error
    if tally.refused:
        raise typer.Exit(1)


async def _run(
    settings: Settings,
    route: Route,
    selection: Selection,
    checkpoint: Checkpoint | None,
    *,
    dry_run: bool,
    rate: int | None,
    stop_on_error: bool,
) -> Tally:
    began = time.monotonic()
    async with opened(settings, route, selection, dry_run=dry_run) as (source, target):
        with shown_progress(await source.total()) as progress:
            run = Replay(source, target, progress, checkpoint, rate=rate, stop_on_error=stop_on_error)
            await run.run()
    if isinstance(target, NowhereTarget):
        print(target.report())
    out = sys.stderr if route.target is To.STDOUT and not dry_run else sys.stdout
    said = summary(run.tally, time.monotonic() - began, resumed=run.resumed, dry_run=dry_run)
    print(said, file=out)
    return run.tally


def _checkpoint(
    path: Path | None, data_dir: Path, route: Route, selection: Selection, settings: Settings
) -> Checkpoint | None:
    """Standard output has one only where it is asked for: what a reader of it kept, we cannot know."""
    if path is None and route.target is To.STDOUT:
        return None
    log = settings.redis.dsn if route.needs_log else None
    name = run_of(route, selection, settings.postgres.dsn, log)
    return Checkpoint(path or data_dir / f"replay-{name}.json", name)

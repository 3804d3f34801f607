"""`turnlog verify`: compare Redis with PostgreSQL, mend, say what was found."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from common.domain.errors import StoreUnavailable
from common.domain.ids import UserId, parse_conversation_id, parse_user_id
from common.domain.messages import timestamp_ms
from common.observability.logging import configure_logging
from common.settings import Settings, SettingsError
from tools.connections import connected
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir
from tools.verify.assembly import make_parts
from tools.verify.checkpoint import Checkpoint
from tools.verify.findings import Tally
from tools.verify.progress import shown_progress
from tools.verify.report import as_json, is_clean, render
from tools.verify.run import Run
from tools.verify.scope import Scope

CLEAN: Final = 0
DRIFT: Final = 1
CANNOT_RUN: Final = 2
NO_SAY: Final = (
    "PostgreSQL has the say at this moment (Redis was away): there is nothing to compare until the log has it"
    " again; see turnlog status"
)


def verify(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    repair: Annotated[
        bool, typer.Option("--repair/--dry-run", help="Mend what is found; else only say it.")
    ] = False,
    user: Annotated[str | None, typer.Option(help="One user's conversations only.")] = None,
    conversation: Annotated[
        str | None, typer.Option(help="One conversation only; its owner is --user.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="One partition only.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what was modified since: 2026-01-31 or 2026-01-31T12:00:00Z.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Conversations a second, at most.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Conversations looked at at once.")] = 16,
    checkpoint: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Remember in this file how far it is; the same command goes on."),
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="With --repair: write numbers off whose messages nobody has."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Find what is different in Redis and PostgreSQL while both are in use; with --repair, mend it.

    Status 0: clean, or all repaired; 1: differences are left; 2: it cannot run.
    """
    try:
        settings = load_instance(data_dir)
        quiet = settings.observability.model_copy(update={"log_level": "error"})
        configure_logging("verify", quiet)
        scope = _scope(settings, user, conversation, partition, since)
        place = Checkpoint(checkpoint, scope, repair=repair)
        tally = uvloop.run(
            _verify(settings, place, rate=rate, concurrency=concurrency, accept_loss=accept_loss)
        )
    except KeyboardInterrupt:
        _refuse("interrupted" + ("; the same command goes on from there" if checkpoint else ""))
    except (CommandError, SettingsError) as error:
        _refuse(str(error))
    else:
        if json:
            sys.stdout.write(as_json(tally, repair=repair) + "\n")
        else:
            Console(highlight=False, soft_wrap=True).print(render(tally, repair=repair))
        raise typer.Exit(CLEAN if is_clean(tally) else DRIFT)


async def _verify(
    settings: Settings, place: Checkpoint, *, rate: float | None, concurrency: int, accept_loss: bool
) -> Tally:
    async with connected(settings, "verify") as connections:
        parts = make_parts(connections, accept_loss=accept_loss)
        scope = place.at.scope
        try:
            if not await parts.record.log_has_the_say():
                raise CommandError(NO_SAY)
            conversations = await parts.record.count(scope.user, since_ms=scope.since_ms)
        except StoreUnavailable as error:
            raise CommandError(f"{error}; start it, or see DATABASE_URL") from error
        with shown_progress(conversations) as watcher:
            tally = await Run(parts, place, watcher, rate=rate, concurrency=concurrency).whole()
        place.remove()
        return tally


def _scope(
    settings: Settings, user: str | None, conversation: str | None, partition: int | None, since: str | None
) -> Scope:
    owner = parse_user_id(user) if user is not None else None
    if user is not None and owner is None:
        raise CommandError("--user must be 1 to 200 characters, none of them a control character")
    about = parse_conversation_id(conversation) if conversation is not None else None
    if conversation is not None and about is None:
        raise CommandError("--conversation must be a UUID")
    if about is not None and owner is None:
        raise CommandError("--conversation needs its owner: --user")
    if partition is not None and partition >= settings.redis.partitions:
        raise CommandError(f"--partition must be below {settings.redis.partitions}")
    return Scope(
        user=UserId(owner) if owner else None,
        conversation=about,
        partition=partition,
        since_ms=_since_ms(since) if since is not None else 0,
    )


def _since_ms(text: str) -> int:
    try:
        if len(text) == len("2026-01-31"):
            return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
        return timestamp_ms(text)
    except ValueError as error:
        raise CommandError("--since must be a date or an RFC 3339 time") from error


def _refuse(text: str) -> None:
    print(f"turnlog: {text}", file=sys.stderr)
    raise typer.Exit(CANNOT_RUN)

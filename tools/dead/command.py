"""`turnlog dead list|show|requeue|drop|park`: what is to be done about events that were parked."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import typer

from common.assembly import keys_for
from common.domain.errors import TurnlogError
from common.observability.logging import configure_logging
from common.redis.breaker import BreakerBoard
from common.redis.commands import Client
from common.redis.connect import connect
from common.redis.dead import DeadLetter, DeadLetters
from common.redis.functions import Functions
from common.settings import Settings
from tools.dead.changes import Requeuing, drop_all, requeue_all
from tools.dead.report import show_list, summary, whole
from tools.dead.selection import Selection, find
from tools.errors import CommandError
from tools.instance import load_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir

dead = typer.Typer(help="Events that PostgreSQL could not take: look at them, put them back, drop them.")

User = Annotated[str | None, typer.Option(help="Only this user's.")]
Conversation = Annotated[str | None, typer.Option(help="Only this conversation's.")]
ErrorText = Annotated[str | None, typer.Option("--error", help="Only those whose error holds this text.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only this partition's.")]
Limit = Annotated[int | None, typer.Option(min=1, help="No more than so many.")]
Letters = Annotated[list[str] | None, typer.Argument(help="Letters by name, e.g. 3/1760000000000-0.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
Rate = Annotated[float, typer.Option(min=0, help="Letters a second at most; 0: as many as can be.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Result = TypeVar("Result")


@dead.command("list")
def list_command(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    user: User = None,
    conversation: Conversation = None,
    error: ErrorText = None,
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters: which event, whose, why, when. Without what it says."""
    chosen = Selection((), user, conversation, error, partition, limit)

    async def run(letters: DeadLetters) -> tuple[list[DeadLetter], int]:
        return [letter async for letter in chosen.of(letters)], await letters.count()

    found, total = _with_letters(data_dir, run)
    if as_json:
        for letter in found:
            print(json.dumps(summary(letter), ensure_ascii=False))
    else:
        show_list(found, total)


@dead.command("show")
def show_command(
    letter: Annotated[str, typer.Argument(help="The letter's name, as in the list.")],
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show one dead letter as JSON, whole: also what a user wrote."""
    found = _with_letters(data_dir, lambda letters: find(letters, letter))
    print(json.dumps(whole(found), indent=2, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf")))


@dead.command("requeue")
def requeue_command(
    letters: Letters = None,
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    user: User = None,
    conversation: Conversation = None,
    error: ErrorText = None,
    partition: Partition = None,
    limit: Limit = None,
    everything: All = False,
    rate: Rate = 1000,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what becomes of them.")] = True,
) -> None:
    """Put dead letters back on the log as they were, when their cause is gone. Nothing is stored twice."""
    chosen = Selection(tuple(letters or ()), user, conversation, error, partition, limit)
    _demand_choice(chosen, everything)
    settings = _settings(data_dir)
    try:
        outcome = asyncio.run(requeue_all(settings, chosen, rate=rate, wait=wait))
    except TurnlogError as failure:
        raise CommandError(f"{failure}; run the same command again for the rest") from failure
    except KeyboardInterrupt:
        raise CommandError("interrupted; run the same command again for the rest") from None
    _say(outcome)
    if outcome.refused or outcome.again or outcome.waiting:
        raise typer.Exit(1)


@dead.command("drop")
def drop_command(
    letters: Letters = None,
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    user: User = None,
    conversation: Conversation = None,
    error: ErrorText = None,
    partition: Partition = None,
    limit: Limit = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rate: Rate = 0,
) -> None:
    """Drop dead letters for ever. Their numbers stay a gap; a deletion that is dropped never happens."""
    chosen = Selection(tuple(letters or ()), user, conversation, error, partition, limit)
    _demand_choice(chosen, everything)

    async def confirmed(letters: DeadLetters) -> int:
        return await drop_all(letters, chosen, rate=rate, may=lambda text: yes or _confirm(text))

    print(f"{_with_letters(data_dir, confirmed):,} dropped")


@dead.command("park")
def park_command(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    seconds: Annotated[int, typer.Option("--for", min=1, max=3600, help="For so many seconds.")] = 60,
) -> None:
    """Let the persister park what its open breaker holds back, and all else that is refused, for a while."""

    async def permit(board: BreakerBoard) -> bool:
        await board.permit_parking(seconds)
        return await board.read() is not None

    is_open = asyncio.run(_on_board(_settings(data_dir), permit))
    if is_open:
        print(f"what the breaker holds back is parked at its next try within {seconds} s (turnlog dead list)")
    else:
        print(f"no breaker is open; what PostgreSQL refuses in the next {seconds} s is parked, however much")


def _demand_choice(chosen: Selection, everything: bool) -> None:
    if chosen.is_narrowed == everything:
        raise CommandError("name letters, or narrow them by an option, or say --all (and not both)")


def _confirm(text: str) -> bool:
    if not sys.stdin.isatty():
        raise CommandError(f"{text} Nobody is there to be asked: say --yes")
    return typer.confirm(f"{text} Drop them?", err=True)


def _say(outcome: Requeuing) -> None:
    print(f"{outcome.requeued:,} back on the log")
    for text in outcome.refused:
        print(f"not requeued: {text}", file=sys.stderr)
    if outcome.waiting is not None:
        print(outcome.waiting, file=sys.stderr)
    if outcome.again:
        print(f"{outcome.again:,} of them were parked again", file=sys.stderr)


def _settings(data_dir: DataDir) -> Settings:
    settings = load_instance(data_dir)
    quiet = settings.observability.model_copy(update={"log_level": "error"})
    configure_logging("dead", quiet)
    if not settings.uses_redis:
        raise CommandError(f"CHAT_HISTORY_MODE={settings.mode} has no log, so nothing is ever parked")
    return settings


def _with_letters(data_dir: DataDir, work: Callable[[DeadLetters], Awaitable[Result]]) -> Result:
    settings = _settings(data_dir)

    async def run() -> Result:
        async with _redis(settings) as client:
            return await work(DeadLetters(Functions(client), keys_for(settings)))

    return asyncio.run(run())


async def _on_board(settings: Settings, work: Callable[[BreakerBoard], Awaitable[Result]]) -> Result:
    async with _redis(settings) as client:
        return await work(BreakerBoard(client, keys_for(settings)))


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncGenerator[Client]:
    """Redis alone: nothing here needs PostgreSQL, which may be the reason that somebody looks."""
    client = connect(settings.redis)
    try:
        yield client
    except TurnlogError as error:
        raise CommandError(str(error)) from error
    finally:
        await client.aclose()

"""The command line: every command is a module of its own and is registered here."""

import sys

import typer

from common.settings import SettingsError
from tools import chaos, migrate, schema, service, suite
from tools.dead.command import dead
from tools.drain import drain
from tools.errors import CommandError
from tools.importing.command import import_command
from tools.lock import lock
from tools.replay.command import replay
from tools.status.command import status
from tools.token import token
from tools.up.command import up
from tools.verify.command import verify

app = typer.Typer(
    name="turnlog",
    help="Conversation history for chat and agent applications.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up)
app.command()(service.gateway)
app.command()(service.persister)
app.command("cache-builder")(service.cache_builder)
app.command("migrate")(migrate.migrate_command)
app.command()(token)
app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(suite.test)
app.command(
    "chaos",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(chaos.chaos)
app.command("import")(import_command)
app.command()(replay)
app.command()(status)
app.command()(verify)
app.command()(drain)
app.add_typer(dead, name="dead", no_args_is_help=True)
app.command()(schema.schema)
app.command()(lock)


def main() -> None:
    """Run the command line. An error that is the user's to mend is one line, without a traceback."""
    try:
        app(prog_name="turnlog")
    except (CommandError, SettingsError) as error:
        print(f"turnlog: {error}", file=sys.stderr)
        sys.exit(1)

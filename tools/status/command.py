"""`turnlog status`: services, log, cache and record at a glance."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console

from common.observability.logging import configure_logging
from tools.instance import load_instance, running_instance
from tools.paths import DEFAULT_DATA_DIR, DataDir
from tools.status.collect import collect
from tools.status.table import render
from tools.up.port import url_of


def status(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="Each partition of the log on its own.")
    ] = False,
) -> None:
    """Show how the instance is doing: lag, pending, hit rate, memory, counts. Status 1: something is down."""
    settings = load_instance(data_dir)
    quiet = settings.observability.model_copy(update={"log_level": "error"})
    configure_logging("status", quiet)
    instance = running_instance(data_dir)
    url = instance.url if instance else url_of(settings.gateway.host, settings.gateway.port)
    found = asyncio.run(collect(settings, url))
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        Console(highlight=False).print(render(found, partitions=partitions))
    if not found.healthy:
        raise typer.Exit(1)

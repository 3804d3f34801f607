"""`turnlog gateway`, `persister`, `cache-builder`: one service in the foreground.

It joins the running instance of the data directory, or works with the servers that the environment names.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

from tools.instance import load_instance, running_instance
from tools.paths import DEFAULT_DATA_DIR, ROOT, DataDir


def gateway(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes.")] = None,
) -> None:
    """Run a gateway in the foreground."""
    options = {"GATEWAY_PORT": port, "GATEWAY_WORKERS": workers}
    _become("gateway", data_dir, {name: str(value) for name, value in options.items() if value is not None})


def persister(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Run a persister in the foreground."""
    _become("persister", data_dir, {})


def cache_builder(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Run a cache builder in the foreground."""
    _become("cache_builder", data_dir, {})


def _become(name: str, data_dir: DataDir, options: dict[str, str]) -> NoReturn:
    load_instance(data_dir)
    instance = running_instance(data_dir)
    environment = {**os.environ, **(instance.environment() if instance else {}), **options}
    environment["PYTHONPATH"] = str(ROOT)
    # This process becomes the service, so that signals and its exit status need no passing on.
    os.execve(sys.executable, [sys.executable, "-m", f"services.{name}"], environment)  # noqa: S606

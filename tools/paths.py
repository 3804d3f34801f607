"""Where things are on disk, and the option by which every command finds the running instance."""

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA_DIR = ROOT / ".turnlog"

DataDir = Annotated[
    Path,
    typer.Option(
        envvar="TURNLOG_DATA_DIR",
        help="The instance's data directory.",
        file_okay=False,
        resolve_path=True,
        show_default=".turnlog beside this program",
    ),
]

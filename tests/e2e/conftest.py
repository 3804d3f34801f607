"""Data directories for instances that tests start."""

import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.instances import RunningUp, running_up
from tests.servers import DIRECTORY_PREFIX
from tools.embedded.home import embedded_home, remove_home


@contextmanager
def temporary_data_dir() -> Generator[Path]:
    """A data directory for `up`, not made yet; everything that belongs to it is removed afterwards."""
    # The name tells a later session whether the process that made it is still there.
    with tempfile.TemporaryDirectory(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-") as parent:
        try:
            yield Path(parent) / "data"
        finally:
            for record in Path(parent).rglob("embedded-home"):
                remove_home(embedded_home(record.parent))


@pytest.fixture
def data_dir() -> Generator[Path]:
    """A data directory for this test alone."""
    with temporary_data_dir() as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(shared_data_dir: Path) -> AsyncGenerator[RunningUp]:
    """A running instance for all tests of a module, with two gateway workers."""
    async with running_up(shared_data_dir, "--workers", "2") as up:
        yield up


@pytest.fixture(scope="module")
def shared_data_dir() -> Generator[Path]:
    """One data directory for all tests of a module: only the first `up` on it has to make a database."""
    with temporary_data_dir() as directory:
        yield directory

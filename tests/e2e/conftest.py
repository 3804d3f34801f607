"""Data directories for instances that tests start."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.embedded.home import embedded_home, remove_home


@contextmanager
def temporary_data_dir() -> Generator[Path]:
    """A data directory for `up`, not made yet; everything that belongs to it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="turnlog-up-") as parent:
        directory = Path(parent) / "data"
        yield directory
        if (directory / "embedded-home").exists():
            remove_home(embedded_home(directory))


@pytest.fixture
def data_dir() -> Generator[Path]:
    """A data directory for this test alone."""
    with temporary_data_dir() as directory:
        yield directory


@pytest.fixture(scope="module")
def shared_data_dir() -> Generator[Path]:
    """One data directory for all tests of a module: only the first `up` on it has to make a database."""
    with temporary_data_dir() as directory:
        yield directory

"""Commands beside a running instance."""

import pytest

from tests.e2e.commands import run
from tests.instances import RunningUp

pytestmark = pytest.mark.e2e


async def test_a_second_up_on_the_same_data_says_so(up: RunningUp) -> None:
    """It names the running instance, changes nothing, and fails."""
    second = run("up", "--data-dir", str(up.data_dir), "--port", "0")
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"already running on {up.data_dir}: {up.url}, process {up.process.pid}" in second.stderr
    assert up.find("services.gateway").is_running()


def test_commands_find_the_instance_by_its_data_directory(up: RunningUp) -> None:
    """`--data-dir` is all that a command needs."""
    found = run("migrate", "--data-dir", str(up.data_dir))
    assert (found.returncode, found.stdout) == (0, "the database is up to date\n")


def test_without_an_instance_a_command_says_how_to_start_one(up: RunningUp) -> None:
    """Another data directory is another instance, or none."""
    place = up.data_dir.parent / "other"
    missed = run("migrate", "--data-dir", str(place))
    assert missed.returncode == 1
    assert f"no running instance at {place}; start one with ./turnlog up" in missed.stderr

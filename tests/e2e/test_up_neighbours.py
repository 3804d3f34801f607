"""Commands beside a running instance."""

import os
import subprocess

import httpx
import pytest

from tests.e2e.commands import run
from tests.instances import RunningUp, turnlog
from tests.waiting import wait_until
from tools.embedded.server import free_port
from tools.paths import ROOT
from tools.up.port import is_ready

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


async def test_another_gateway_joins_the_instance(up: RunningUp) -> None:
    """It serves what the first one stored, with the same tokens, and stops when it is asked to."""
    port = free_port()
    arguments = turnlog("gateway", "--data-dir", str(up.data_dir), "--port", str(port))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL) as gateway:
        try:
            await wait_until(lambda: is_ready("127.0.0.1", port))
            async with httpx.AsyncClient() as client:
                message = {"role": "user", "content": "seen by both"}
                made = await client.post(f"{up.url}/api/conversations/messages", json=message)
                path = f"/api/conversations/{made.json()['conversation_id']}/messages"
                read = await client.get(f"http://127.0.0.1:{port}{path}")
            assert [found["content"] for found in read.json()["messages"]] == ["seen by both"]
        finally:
            gateway.terminate()
        assert gateway.wait(20) == 0

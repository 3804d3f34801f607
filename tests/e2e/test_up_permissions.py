"""Embedded servers live with the permissions they find: nothing that is not ours is opened to others."""

import os
import pwd
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.settings import PostgresSettings, RedisSettings, Settings
from tests.instances import RunningUp, command_of, running_up
from tools.durability import durability_notes
from tools.paths import ROOT

pytestmark = pytest.mark.e2e


async def test_no_permission_above_the_data_is_changed(data_dir: Path) -> None:
    """A private, deep and long path with blanks: every directory above it stays as it was.

    (The starter of the PostgreSQL wheel, run as root, makes all of them readable by everybody.)
    """
    place = data_dir.parent / "private" / ("a long name " * 15).strip() / "data"
    place.parent.mkdir(parents=True)
    (data_dir.parent / "private").chmod(0o700)
    watched = [*place.parents, *Path(ROOT / ".venv").parents, Path(os.__file__).parent, Path.home()]
    before = {path: _permissions(path) for path in watched}
    async with running_up(place) as up:
        assert len(str(place)) > 150
        assert up.find("postgres").is_running()
        assert {path: _permissions(path) for path in watched} == before
    assert {path: _permissions(path) for path in watched} == before


def test_what_is_secret_is_for_its_owner_only(up: RunningUp) -> None:
    """Passwords and the token secret are in files that nobody else can read, and in no command line."""
    assert stat.S_IMODE(up.data_dir.stat().st_mode) == 0o700
    kept = list((up.data_dir / "secrets").iterdir())
    private = [up.data_dir / "instance.json", *kept]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    secrets = [path.read_text().strip() for path in kept]
    commands = " ".join(command_of(process) for process in up.descendants())
    logs = "".join(path.read_text() for path in (up.data_dir / "logs").glob("*.log"))
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in commands or secret in logs]


async def test_what_it_starts_may_lose_nothing(up: RunningUp) -> None:
    """Both embedded servers sync before they answer: there is no weaker setting to take note of."""
    servers = Settings(
        postgres=PostgresSettings(url=SecretStr(up.instance.database_url)),
        redis=RedisSettings(url=SecretStr(str(up.instance.redis_url))),
    )
    assert await durability_notes(servers) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")
def test_as_root_no_server_runs_as_root(up: RunningUp) -> None:
    """PostgreSQL and Valkey run as a system user that has no shell."""
    for name in ("bin/postgres -D", "valkey-server"):
        server = up.find(name)
        assert server.uids().effective != 0
        assert server.gids().effective != 0
        assert pwd.getpwuid(server.uids().real).pw_shell.endswith(("nologin", "false"))


def _permissions(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mode, status.st_uid, status.st_gid

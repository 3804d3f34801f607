"""The smaller parts of `up`, each on its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.settings import ChatHistoryMode, PostgresSettings, Settings
from tools.embedded.home import embedded_home, remove_home
from tools.embedded.server import end_of_log, free_port, size_of_log
from tools.errors import CommandError
from tools.instance import (
    Instance,
    instance_lock,
    kept_secret,
    load_instance,
    running_instance,
    write_instance,
)
from tools.up.leftovers import record_children, stop_leftovers
from tools.up.logs import rotate_large_logs
from tools.up.port import choose_port, url_of
from tools.up.servers import plan_servers

INSTANCE = Instance(
    pid=7, url="http://x", redis_url="redis://r", database_url="postgresql://p", jwt_secret="s"
)


def test_the_lock_is_held_once(tmp_path: Path) -> None:
    """The second one is told who has it."""
    with instance_lock(tmp_path):
        write_instance(tmp_path, INSTANCE)
        with (
            pytest.raises(CommandError, match=r"already running on .*: http://x, process 7"),
            instance_lock(tmp_path),
        ):
            pass
    with instance_lock(tmp_path):
        assert running_instance(tmp_path) is None  # the record of the run before is gone


def test_a_record_without_a_lock_is_no_instance(tmp_path: Path) -> None:
    """After a crash the record is still there, but the kernel has taken the lock back."""
    write_instance(tmp_path, INSTANCE)
    (tmp_path / "lock").touch()
    assert running_instance(tmp_path) is None


def test_commands_reach_the_running_instance(tmp_path: Path) -> None:
    """Its servers and its token secret come from the record, everything else from the environment."""
    with instance_lock(tmp_path):
        write_instance(tmp_path, INSTANCE)
        settings = load_instance(tmp_path)
    assert (settings.redis.dsn, settings.postgres.dsn) == ("redis://r", "postgresql://p")
    assert settings.identity.jwt_secret is not None
    assert settings.identity.jwt_secret.get_secret_value() == "s"


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_URL", "redis://own"), ("REDIS_HOST", "own"), ("DATABASE_URL", "postgresql://own")],
)
def test_other_servers_are_not_silently_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Naming a server while an instance has another one is an error that shows no password."""
    monkeypatch.setenv(name, value)
    with instance_lock(tmp_path):
        write_instance(tmp_path, INSTANCE)
        with pytest.raises(CommandError, match=rf"^{name} and the instance .* are different servers"):
            load_instance(tmp_path)


def test_an_instance_may_be_of_the_servers_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` on servers of one's own has the same URLs."""
    monkeypatch.setenv("REDIS_URL", "redis://r")
    monkeypatch.setenv("DATABASE_URL", "postgresql://p")
    with instance_lock(tmp_path):
        write_instance(tmp_path, INSTANCE)
        assert load_instance(tmp_path).redis.dsn == "redis://r"


def test_the_end_of_a_log_is_of_this_run(tmp_path: Path) -> None:
    """What an earlier run complained about is not shown; a log that was cut since is shown from its start."""
    log = tmp_path / "gateway.log"
    assert size_of_log(log) == 0
    log.write_text("an old error\n")
    start = size_of_log(log)
    with log.open("a") as file:
        file.write("a new one\n")
    assert end_of_log(log, start) == "a new one"
    log.write_text("cut\n")
    assert end_of_log(log, start) == "cut"


def test_without_an_instance_the_environment_may_name_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a deployment without `up` the same commands work with DATABASE_URL and REDIS_URL."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://own")
    with pytest.raises(CommandError, match="no running instance"):
        load_instance(tmp_path)
    monkeypatch.setenv("REDIS_URL", "redis://own")
    assert load_instance(tmp_path).redis.dsn == "redis://own"


def test_a_kept_secret_is_made_once(tmp_path: Path) -> None:
    """Long, random, the same on every call, and nobody else's to read."""
    secret = kept_secret(tmp_path, "jwt")
    assert len(secret) == 64
    assert kept_secret(tmp_path, "jwt") == secret != kept_secret(tmp_path, "other")
    assert (tmp_path / "secrets" / "jwt").stat().st_mode & 0o777 == 0o600


def test_leftovers_are_stopped_and_strangers_are_not(tmp_path: Path) -> None:
    """A process is ours only if it started when ours did: its id may have been given to somebody else."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleeper, start_new_session=True) as ours:
        record_children(tmp_path, [ours.pid])
        assert stop_leftovers(tmp_path) == 1
        assert not psutil.pid_exists(ours.pid)
    with subprocess.Popen(sleeper, start_new_session=True) as stranger:
        started = psutil.Process(stranger.pid).create_time() - 100
        (tmp_path / "children.json").write_text(f"[[{stranger.pid}, {started}]]")
        assert stop_leftovers(tmp_path) == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_large_log_is_moved_aside(tmp_path: Path) -> None:
    """The process goes on writing to the file it has open, and nothing grows without end."""
    log = tmp_path / "gateway.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 1000)
        writer.flush()
        rotate_large_logs(tmp_path, largest_bytes=100)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "gateway.log.1").read_bytes() == b"x" * 1000


def test_a_port_is_given_taken_or_chosen() -> None:
    """0 is any free port; a taken one is an error that says what to do."""
    free = choose_port("127.0.0.1", 0)
    assert choose_port("127.0.0.1", free) == free
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        with pytest.raises(CommandError, match="--port 0"):
            choose_port("127.0.0.1", other.getsockname()[1])


def test_the_printed_url_can_be_opened() -> None:
    """An address that means "everywhere" is not one to go to."""
    assert url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert url_of("::", 80) == "http://[::1]:80"


def test_modes_without_redis_need_no_redis(tmp_path: Path) -> None:
    """PostgreSQL alone is planned, and nothing embedded, when that is all the mode has."""
    own = PostgresSettings(host="db")
    servers = plan_servers(Settings(mode=ChatHistoryMode.POSTGRES, postgres=own), tmp_path)
    assert (servers.redis_url, servers.embedded) == (None, ())
    assert servers.database_url == own.dsn


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps the data elsewhere")
def test_root_does_not_start_empty_over_data_of_another_user(tmp_path: Path) -> None:
    """`sudo ./turnlog up` on one's own data says whose they are, instead of looking as if they were lost."""
    (tmp_path / "postgres").mkdir()
    os.chown(tmp_path / "postgres", 1, 1)
    with pytest.raises(CommandError, match=r"were made by \w+: run ./turnlog as"):
        embedded_home(tmp_path)


def test_the_home_of_embedded_servers_is_remembered(tmp_path: Path) -> None:
    """The same data directory leads to the same data, and a removed one never comes back to life."""
    home = embedded_home(tmp_path)
    try:
        assert embedded_home(tmp_path) == home
        assert (home.path == tmp_path) == (os.geteuid() != 0)
    finally:
        remove_home(home)
    if os.geteuid() == 0:
        other = embedded_home(tmp_path)
        remove_home(other)
        assert other.path != home.path

"""An embedded PostgreSQL: its cluster, its settings, and the command that starts it.

It listens on 127.0.0.1 only, asks every connection for a password, and keeps fsync on.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from tools.embedded.home import EmbeddedHome
from tools.embedded.programs import postgres_programs
from tools.embedded.server import ServerSpec, guard_environment
from tools.errors import CommandError

LOGIN = "turnlog"
DATABASE = "turnlog"
_CLUSTER = "postgres"
BUILTIN_LOCALES_SINCE = 17


def postgres_server(
    home: EmbeddedHome, *, port: int, password: str, options: Mapping[str, str] | None = None
) -> ServerSpec:
    """Describe the server, making its cluster first when there is none. `options` are server parameters."""
    programs = postgres_programs(home)
    cluster = home.path / _CLUSTER
    if not (cluster / "PG_VERSION").exists():
        _make_cluster(home, programs, password)
    _check_major_version(cluster, programs)
    _remove_foreign_lock(cluster)
    parameters = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # A socket path is limited to about 100 characters, a data directory is not.
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **(options or {}),
    }
    command = [str(programs / "postgres"), "-D", str(cluster)]
    for name, value in parameters.items():
        command += ["-c", f"{name}={value}"]
    admin_dsn = f"postgresql://{LOGIN}:{password}@127.0.0.1:{port}/postgres"

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(admin_dsn, timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    return ServerSpec(
        name="postgres",
        command=command,
        stop_signals=("INT", "QUIT", "KILL"),
        directory=home.path,
        pid_file=home.data_dir / "postgres.pid",
        dsn=f"postgresql://{LOGIN}:{password}@127.0.0.1:{port}/{DATABASE}",
        answers=answers,
    )


async def ensure_database(dsn: str) -> None:
    """Create the database that `dsn` names in the embedded cluster, if it is not there."""
    admin_dsn, _, database = dsn.rpartition("/")
    connection = await asyncpg.connect(f"{admin_dsn}/postgres")
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()


def _make_cluster(home: EmbeddedHome, programs: Path, password: str) -> None:
    # Made beside its place and renamed, so that a half-made cluster is never taken for a whole one.
    building = home.path / f"{_CLUSTER}.new"
    shutil.rmtree(building, ignore_errors=True)
    home.make_directory(building.name)
    password_file = home.write_private("initdb-password", password)
    command = [
        str(programs / "initdb"),
        f"--pgdata={building}",
        f"--username={LOGIN}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
    ]
    if _major_version(programs) >= BUILTIN_LOCALES_SINCE:
        # Text sorts the same on every machine, whatever locales it has.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    account = home.account
    try:
        result = subprocess.run(
            command,
            cwd=home.path,
            env=guard_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
            # Ctrl-C in the terminal is for us: this is over in a moment, and then we stop.
            start_new_session=True,
        )
    finally:
        password_file.unlink()
    if result.returncode != 0:
        raise CommandError(f"PostgreSQL's initdb failed:\n{result.stdout}{result.stderr}")
    building.rename(home.path / _CLUSTER)


def _check_major_version(cluster: Path, programs: Path) -> None:
    ours, made_by = _major_version(programs), int((cluster / "PG_VERSION").read_text())
    if ours != made_by:
        raise CommandError(f"{cluster} was made by PostgreSQL {made_by}, {programs} has PostgreSQL {ours}")


def _major_version(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "-V"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+", said)
    if found is None:
        raise CommandError(f"{programs / 'postgres'} does not say which version it is: {said.strip()}")
    return int(found[0])


def _remove_foreign_lock(cluster: Path) -> None:
    # After a crash of the machine or a container the id in postmaster.pid may belong to another program of
    # the same account (our Valkey, say), and PostgreSQL then refuses to start.
    lock = cluster / "postmaster.pid"
    try:
        owner = psutil.Process(int(lock.read_text().splitlines()[0]))
        if not owner.name().startswith("postgres"):
            os.unlink(lock)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return

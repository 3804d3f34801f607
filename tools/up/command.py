"""`turnlog up`: start everything, say when it is ready, and stay until asked to stop."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import SecretStr

from common.domain.errors import UnsafeConfiguration
from common.postgres.migrations import migrate
from common.runtime import STOP_SIGNALS, exit_with_parent
from common.settings import PostgresSettings, RedisSettings, Settings, load_settings
from tools.durability import durability_notes
from tools.embedded.postgres import ensure_database
from tools.errors import CommandError
from tools.instance import Instance, instance_lock, kept_secret, write_instance
from tools.paths import DEFAULT_DATA_DIR, ROOT, DataDir
from tools.up.leftovers import stop_leftovers
from tools.up.logs import keep_logs_bounded
from tools.up.port import choose_port, url_of
from tools.up.servers import Servers, plan_servers
from tools.up.supervisor import Supervisor

_ORPHAN_GRACE_SECONDS = 120.0


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The gateway's port; 0: any free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Gateway worker processes.")] = None,
) -> None:
    """Start everything on this machine, and print one line when it is ready."""
    settings = load_settings()
    gateway = settings.gateway
    changes = {"port": gateway.port if port is None else port, "workers": workers or gateway.workers}
    settings = settings.model_copy(update={"gateway": gateway.model_copy(update=changes)})
    _make_private_directory(data_dir)
    with instance_lock(data_dir):
        settings = _with_secret(settings, data_dir)
        _refuse_unsafe(settings)
        # Tests and benchmarks start instances, too, and must not leave one behind when they are killed.
        exit_with_parent(grace_seconds=_ORPHAN_GRACE_SECONDS)
        uvloop.run(_Up(settings, data_dir).run())


class _Up:
    """One run of `up`."""

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Start, stay, stop. Raises CommandError when the instance cannot start."""
        self._listen_to_signals()
        if count := stop_leftovers(self._data_dir):
            report(f"stopped {count} processes that an earlier run had left behind")
        host = self._settings.gateway.host
        port = choose_port(host, self._settings.gateway.port)
        servers = plan_servers(self._settings, self._data_dir)
        supervisor = Supervisor(self._data_dir, report)
        supervisor.logs.mkdir(exist_ok=True)
        report(f"data and logs in {self._data_dir}")
        starting = asyncio.create_task(self._start(supervisor, servers, host, port))
        stopping = asyncio.create_task(self._stop.wait())
        bounding = asyncio.create_task(keep_logs_bounded(supervisor.logs))
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            for task in (starting, stopping, bounding):
                task.cancel()
            # A start that is cut short must have let go before its processes are stopped.
            await asyncio.gather(starting, stopping, bounding, return_exceptions=True)
            report("stopping")
            await supervisor.stop(self._hurry)
        report("stopped")

    async def _start(self, supervisor: Supervisor, servers: Servers, host: str, port: int) -> None:
        await supervisor.start_servers(servers.embedded)
        await _migrate(servers)
        if self._settings.postgres.configured or self._settings.redis.configured:
            await _say_what_is_weaker(self._settings, servers)
        instance = Instance(
            pid=os.getpid(),
            url=url_of(host, port),
            redis_url=servers.redis_url,
            database_url=servers.database_url,
            jwt_secret=_secret_of(self._settings),
        )
        stages = [["persister", "cache_builder"], ["gateway"]] if servers.redis_url else [["gateway"]]
        await supervisor.start_services(stages, self._environment(instance, port))
        await supervisor.wait_ready(host, port)
        write_instance(self._data_dir, instance)
        print(f"ready {instance.url}", flush=True)

    def _environment(self, instance: Instance, port: int) -> dict[str, str]:
        key_file = self._settings.identity.jwt_public_key_file
        return {
            **os.environ,
            **instance.environment(),
            # The services run in another directory.
            **({"JWT_PUBLIC_KEY_FILE": str(key_file.resolve())} if key_file else {}),
            "GATEWAY_PORT": str(port),
            "GATEWAY_WORKERS": str(self._settings.gateway.workers),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            # nohup means: go on when the terminal closes. In a script's background SIGINT is ignored as well,
            # but whoever sends one there means us.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


def report(text: str) -> None:
    """Say something to whoever watches the terminal. Nobody may be watching any more."""
    with contextlib.suppress(OSError, ValueError):
        print(f"turnlog: {text}", file=sys.stderr, flush=True)


def _with_secret(settings: Settings, data_dir: Path) -> Settings:
    """`settings` with a secret that signs tokens: the one given, or this instance's own."""
    if settings.identity.jwt_secret is not None:
        return settings
    secret = SecretStr(kept_secret(data_dir, "jwt"))
    return settings.model_copy(
        update={"identity": settings.identity.model_copy(update={"jwt_secret": secret})}
    )


def _secret_of(settings: Settings) -> str:
    secret = settings.identity.jwt_secret
    return secret.get_secret_value() if secret else ""


def _refuse_unsafe(settings: Settings) -> None:
    """Refuse, before anything is started, what the gateway would refuse at the end of the start."""
    from common.identity.safety import refuse_unsafe_identity  # noqa: PLC0415 - as in tools/token.py

    try:
        refuse_unsafe_identity(settings)
    except UnsafeConfiguration as error:
        raise CommandError(str(error)) from None


async def _migrate(servers: Servers) -> None:
    if any(server.name == "postgres" for server in servers.embedded):
        await ensure_database(servers.database_url)
    for name in await migrate(servers.database_url):
        report(f"migrated the database: {name}")


async def _say_what_is_weaker(settings: Settings, servers: Servers) -> None:
    changes: dict[str, object] = {"postgres": PostgresSettings(url=SecretStr(servers.database_url))}
    if servers.redis_url:
        changes["redis"] = RedisSettings(url=SecretStr(servers.redis_url))
    for note in await durability_notes(settings.model_copy(update=changes)):
        report(f"note: {note}")


def _make_private_directory(path: Path) -> None:
    try:
        # Only what we make ourselves is made private; what is there keeps its permissions.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the data directory {path}: {error.strerror}") from None

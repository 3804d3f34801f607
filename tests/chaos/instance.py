"""An instance to attack: two of every service, each behind its own links, over servers with real durability.

The services are started as `turnlog up` starts them (tools/up/child.py) and come back like there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
from pydantic import SecretStr

from common.postgres.migrations import migrate
from common.settings import (
    ChatHistoryMode,
    IdentitySettings,
    PostgresSettings,
    RedisSettings,
    Settings,
    variables,
)
from tests.chaos import clock, space
from tests.chaos.deaths import Deaths
from tests.chaos.gate import Gate
from tests.chaos.members import Server, Service
from tests.chaos.proxy import Proxy
from tools.embedded.home import EmbeddedHome, embedded_home, remove_home
from tools.embedded.postgres import ensure_database, postgres_server
from tools.embedded.server import ServerSpec, free_port, guard_environment, wait_until_answers
from tools.embedded.valkey import valkey_server
from tools.paths import ROOT
from tools.up.child import Child, ChildSpec
from tools.up.port import is_ready

STATEMENT_TIMEOUT_SECONDS: Final = 3.0
CLAIM_IDLE_SECONDS: Final = 5.0
ROLES: Final = ("gateway", "persister", "builder")
_MODULES: Final = {"gateway": "gateway", "persister": "persister", "builder": "cache_builder"}
_READY_SECONDS: Final = 60.0
# A supervisor takes its time with what dies again and again; here that is our doing.
_LONGEST_PAUSE_SECONDS: Final = 0.8
# Short, so that a run of minutes sees what otherwise takes hours: expiry, misses, trimming, claims.
_TUNING: Final = {
    "CHAT_HISTORY_MODE": "redis",
    "REDIS_TTL_SECONDS": "20",
    "SESSION_MAX_MESSAGES": "20",
    "POSTGRES_STATEMENT_TIMEOUT_SECONDS": f"{STATEMENT_TIMEOUT_SECONDS:g}",
    "PERSISTER_CLAIM_MIN_IDLE_SECONDS": f"{CLAIM_IDLE_SECONDS:g}",
    "PERSISTER_REPLAY_WINDOW_SECONDS": "120",
    "CACHE_BUILDER_LEASE_SECONDS": "2",
}
_POSTGRES_OPTIONS: Final = {
    "max_wal_size": "128MB",
    "log_lock_waits": "on",
    "shared_buffers": "64MB",
}
_VALKEY_OPTIONS: Final = {"aof-timestamp-enabled": "yes"}


class Instance:
    """Servers, services and links. `gate` holds the workload back; `report` gets a line for a person;
    `tuning` are variables of the services that differ from those of a run of faults."""

    def __init__(
        self,
        directory: Path,
        gate: Gate,
        report: Callable[[str], None],
        tuning: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._tuning = {**_TUNING, **(tuning or {})}
        self.logs = directory / "logs"
        self.gate = gate
        self.deaths = Deaths(report)
        self.kills = Counter[str]()
        self.part_kills = Counter[str]()
        self.links: dict[tuple[str, str], Proxy] = {}
        """By the names of service and server; what clients go through is ("clients", gateway)."""
        self.services: dict[str, Service] = {}
        self.on_tmpfs = False
        self._homes: list[EmbeddedHome] = []
        self._secret = secrets.token_hex(32)
        self._read_end, self._write_end = os.pipe()

    async def start(self) -> None:
        """Start everything; return when both gateways are ready."""
        self.logs.mkdir(parents=True)
        await self._start_servers()
        await ensure_database(self.postgres.spec.dsn)
        await migrate(self.postgres.spec.dsn)
        for role in ROLES:
            for number in (1, 2):
                await self._start_service(role, f"{role}-{number}")
        for name in self.gateways:
            port = self.services[name].port
            front = await self._link("clients", name, port)
            self.services[name].front = front.port
        await self._wait_ready()
        self.deaths.begin()

    async def stop(self) -> None:
        """Stop everything and remove the servers' data."""
        self.deaths.end()
        hurry = asyncio.Event()
        services = [service.child for service in self.services.values()]
        for link in self.links.values():
            link.heal()
        await asyncio.gather(*(child.stop(hurry) for child in services))
        for link in self.links.values():
            await link.close()
        for server in self._servers():
            await server.child.stop(hurry)
        os.close(self._read_end)
        os.close(self._write_end)
        if self.on_tmpfs:
            space.unmount(self._homes[0].path)
        for home in self._homes:
            remove_home(home)
        shutil.rmtree(self.directory / "servers", ignore_errors=True)

    @property
    def gateways(self) -> list[str]:
        """The names of the gateway processes."""
        return [name for name in self.services if name.startswith("gateway")]

    @property
    def urls(self) -> list[str]:
        """Where clients reach the gateways: through links that can be broken."""
        return [f"http://127.0.0.1:{self.services[name].front}" for name in self.gateways]

    @property
    def direct_urls(self) -> list[str]:
        """The gateways themselves, for probes."""
        return [f"http://127.0.0.1:{self.services[name].port}" for name in self.gateways]

    @property
    def settings(self) -> Settings:
        """Settings that reach the servers directly."""
        return Settings(
            mode=ChatHistoryMode.REDIS,
            redis=RedisSettings(url=SecretStr(self.valkey.spec.dsn)),
            postgres=PostgresSettings(url=SecretStr(self.postgres.spec.dsn)),
            identity=IdentitySettings(jwt_secret=SecretStr(self._secret)),
        )

    def family(self, name: str) -> list[psutil.Process]:
        """All processes of a server or service, the first one first; empty while it is not running."""
        member = self.services.get(name) or self._server(name)
        return member.family()

    def clock_file(self, name: str) -> Path:
        """What says how far the clock of a service is off."""
        return self.directory / f"{name}.clock"

    def expect_death(self, name: str) -> None:
        """Say that the next end of this process is our doing."""
        self.deaths.expect(name)
        self.kills[name.partition("-")[0]] += 1

    def count_part_kill(self, name: str) -> None:
        """Note that a part of this process is killed: whoever made the part makes another."""
        self.kills[name.partition("-")[0]] += 1
        self.part_kills[name.partition("-")[0]] += 1

    async def wait_answers(self, name: str, timeout_seconds: float = _READY_SECONDS) -> None:
        """Wait until a server answers (again)."""
        server = self._server(name)
        await wait_until_answers(
            server.spec, server.child.spec.log_file, lambda: True, timeout_seconds=timeout_seconds
        )

    async def stop_server(self, name: str) -> None:
        """Stop a server as an operator would; it stays away."""
        await self._server(name).child.stop(asyncio.Event())

    async def start_server(self, name: str) -> None:
        """Start a stopped server again; return when it answers."""
        server = self._server(name)
        server.child = await self._start_child(server.child.spec)
        await self.wait_answers(name)

    def _server(self, name: str) -> Server:
        return {"postgres": self.postgres, "redis": self.valkey}[name]

    def _servers(self) -> list[Server]:
        found = (getattr(self, name, None) for name in ("valkey", "postgres"))
        return [server for server in found if server is not None]

    async def _start_servers(self) -> None:
        home = self._home("postgres")
        self.on_tmpfs = space.mount(home)
        port, password = free_port(), secrets.token_hex(16)
        self.postgres = await self._start_server(
            "postgres",
            lambda: postgres_server(home, port=port, password=password, options=_POSTGRES_OPTIONS),
        )
        other_home, other_port = self._home("redis"), free_port()
        self.valkey = await self._start_server(
            "redis",
            lambda: valkey_server(other_home, port=other_port, password=password, options=_VALKEY_OPTIONS),
        )
        self.valkey.data = other_home.path / "valkey"

    def _home(self, name: str) -> EmbeddedHome:
        directory = self.directory / "servers" / name
        directory.mkdir(parents=True)
        home = embedded_home(directory)
        self._homes.append(home)
        return home

    async def _start_server(self, name: str, prepare: Callable[[], ServerSpec]) -> Server:
        server = Server(prepare())

        def command() -> list[str]:
            server.before_start()
            return prepare().guarded_command()

        spec = ChildSpec(
            name=name,
            command=command,
            environment=guard_environment(),
            directory=server.spec.directory,
            log_file=self.logs / f"{name}.log",
            grace_seconds=30.0,
            guards_server=True,
            longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
        )
        server.child = await self._start_child(spec)
        await wait_until_answers(
            server.spec, spec.log_file, lambda: not server.child.ended_by_itself.is_set(), timeout_seconds=60
        )
        return server

    async def _start_service(self, role: str, name: str) -> None:
        redis = await self._link(name, "redis", _port(self.valkey.spec.dsn))
        postgres = await self._link(name, "postgres", _port(self.postgres.spec.dsn))
        port = free_port() if role == "gateway" else 0
        # The second of each has a clock that can be set: the first shows how it is without the library.
        faked = clock.environment(self.clock_file(name)) if name.endswith("-2") else {}
        environment = {
            **_clean_environment(),
            **self._tuning,
            "REDIS_URL": _through(self.valkey.spec.dsn, redis.port),
            "DATABASE_URL": _through(self.postgres.spec.dsn, postgres.port),
            "JWT_SECRET": self._secret,
            "GATEWAY_PORT": str(port or 8080),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **faked,
        }
        spec = ChildSpec(
            name=name,
            command=lambda: [sys.executable, "-m", f"services.{_MODULES[role]}"],
            environment=environment,
            directory=ROOT,
            log_file=self.logs / f"{name}.log",
            grace_seconds=15.0,
            longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
        )
        self.services[name] = Service(await self._start_child(spec), port)

    async def _start_child(self, spec: ChildSpec) -> Child:
        child = Child(
            spec, self._read_end, lambda text: self.deaths.ended(spec.name, text), on_start=lambda: None
        )
        await child.start()
        return child

    async def _link(self, source: str, target: str, port: int) -> Proxy:
        proxy = Proxy(f"{source}→{target}", port)
        await proxy.start()
        self.links[source, target] = proxy
        return proxy

    async def _wait_ready(self) -> None:
        async with asyncio.timeout(_READY_SECONDS):
            for name in self.gateways:
                while not await is_ready("127.0.0.1", self.services[name].port):
                    await asyncio.sleep(0.05)


def _port(dsn: str) -> int:
    port = urlsplit(dsn).port
    assert port
    return port


def _through(dsn: str, port: int) -> str:
    return dsn.replace(f":{_port(dsn)}/", f":{port}/")


def _clean_environment() -> Mapping[str, str]:
    ours = {variable.name for variable in variables()}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "TURNLOG_ENV_FILE": os.devnull}

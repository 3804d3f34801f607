"""compose.yaml, as far as it can be checked without a container engine."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio
import yaml

from common.settings import load_settings, variables
from tools.embedded.home import embedded_home, remove_home
from tools.embedded.programs import valkey_program
from tools.embedded.server import GuardedServer, ServerSpec, free_port
from tools.embedded.valkey import valkey_server
from tools.paths import ROOT

GIVEN = {"REDIS_PASSWORD": "p-redis", "POSTGRES_ADMIN_PASSWORD": "p-postgres", "JWT_SECRET": "s" * 32}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, with the variables replaced as compose does it."""
    text = (ROOT / "compose.yaml").read_text()

    def replaced(found: re.Match[str]) -> str:
        return GIVEN.get(found["name"], found["default"] or "")

    text = re.sub(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*)|:\?[^}]*)?\}", replaced, text)
    return cast("dict[str, Any]", yaml.safe_load(text)["services"])


def test_it_runs_the_three_services_on_two_servers(services: dict[str, Any]) -> None:
    """The services wait for a healthy Redis and for the migration, and that for a healthy PostgreSQL."""
    assert set(services) == {"redis", "postgres", "migrate", "gateway", "persister", "cache-builder"}
    for name in ("gateway", "persister", "cache-builder"):
        assert services[name]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
        assert services[name]["command"][-1] == f"services.{name.replace('-', '_')}"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("redis", "postgres", "gateway"):
        assert services[name]["healthcheck"]["test"]


def test_the_services_settings_are_complete(services: dict[str, Any]) -> None:
    """Every variable is one of ours, and they lead to the servers of the file."""
    for name in ("migrate", "gateway", "persister", "cache-builder"):
        environment = services[name]["environment"]
        assert set(environment) <= {variable.name for variable in variables()}
        settings = load_settings(environment, env_file=None)
        assert settings.redis.dsn == "redis://:p-redis@redis:6379/0"
        assert settings.postgres.dsn == (
            "postgresql://turnlog:p-postgres@postgres:5432/turnlog?sslmode=disable"
        )


async def test_redis_is_durable_bounded_and_never_evicts(services: dict[str, Any], tmp_path: Path) -> None:
    """The command line of the file, given to the real server."""
    home = embedded_home(tmp_path)
    port = free_port()
    given = [*services["redis"]["command"], "--port", str(port), "--bind", "127.0.0.1"]
    usual = valkey_server(home, port=port, password="p-redis")
    spec = ServerSpec(
        name=usual.name,
        command=[str(valkey_program(home)), *given[1:], "--dir", str(home.make_directory("valkey"))],
        stop_signals=usual.stop_signals,
        directory=usual.directory,
        pid_file=usual.pid_file,
        dsn=usual.dsn,
        answers=usual.answers,
    )
    server = GuardedServer(spec, tmp_path / "valkey.log")
    try:
        await server.wait_ready()
        async with redis.asyncio.Redis.from_url(spec.dsn, decode_responses=True) as client:
            found = await client.config_get(
                "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "save"
            )
        assert found == {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": str(2 * 1024**3),
            "maxmemory-policy": "noeviction",
            "save": "",
        }
    finally:
        server.stop()
        remove_home(home)


def test_the_image_has_what_the_services_import() -> None:
    """The container file copies the packages that the commands name, and nothing unlocked is installed."""
    text = (ROOT / "Containerfile").read_text()
    assert "--require-hashes" in text
    for package in ("common", "services", "tools"):
        assert f"COPY {package} ./{package}" in text

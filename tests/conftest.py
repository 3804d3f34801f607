"""Fixtures that every test may use: clean, real servers and settings that point at them."""

import os
import secrets
from collections.abc import Iterator

import asyncpg
import pytest
import redis
from pydantic import SecretStr

from common.settings import IdentitySettings, PostgresSettings, RedisSettings, Settings, variables
from tests.cluster import ON_A_CLUSTER, Cluster, redis_settings, running_cluster
from tests.keeping import ALONE, WITH_REDIS
from tests.servers import TestServers, run_apart, running_servers


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Nothing of the developer's shell or `.env` reaches a test or a process that it starts, but for the
    programs of the servers: so the suite can be run on other ones."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in variables():
            if variable.path[0] != "embedded":
                patch.delenv(variable.name, raising=False)
        patch.delenv("TURNLOG_DATA_DIR", raising=False)
        patch.setenv("TURNLOG_ENV_FILE", os.devnull)
        if ON_A_CLUSTER:
            patch.setenv("REDIS_CLUSTER", "true")
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[TestServers]:
    """The session's PostgreSQL and Valkey."""
    with running_servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def _migrated_template(servers: TestServers) -> str:
    """The name of a migrated database that no test touches: each test gets a copy of it."""
    from common.postgres.migrations import migrate

    async def make() -> None:
        connection = await asyncpg.connect(servers.admin_dsn)
        try:
            await connection.execute("CREATE DATABASE turnlog_template")
        finally:
            await connection.close()
        await migrate(_database(servers, "turnlog_template"))

    run_apart(make())
    return "turnlog_template"


@pytest.fixture
def postgres_dsn(servers: TestServers, _migrated_template: str) -> Iterator[str]:
    """A fresh, migrated database, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    run_apart(_execute(servers, f"CREATE DATABASE {name} TEMPLATE {_migrated_template}"))
    yield _database(servers, name)
    run_apart(_execute(servers, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_postgres_dsn(servers: TestServers) -> Iterator[str]:
    """A fresh database without any table, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    run_apart(_execute(servers, f"CREATE DATABASE {name}"))
    yield _database(servers, name)
    run_apart(_execute(servers, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's Redis cluster of three primaries. Whoever uses it clears it first."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def redis_url(servers: TestServers, request: pytest.FixtureRequest) -> str:
    """An empty Redis with the settings the log needs; loaded function libraries stay.

    With TURNLOG_TEST_REDIS=cluster it is a node of a cluster.
    """
    if ON_A_CLUSTER:
        cluster: Cluster = request.getfixturevalue("cluster")
        cluster.clear()
        return cluster.dsn
    with redis.Redis.from_url(servers.valkey.dsn) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")
        client.flushall()
    return servers.valkey.dsn


@pytest.fixture
def settings(postgres_dsn: str, redis_url: str) -> Settings:
    """Settings for a clean database and a clean Redis, in `local` mode with a JWT secret."""
    return Settings(
        redis=redis_settings(redis_url),
        postgres=PostgresSettings(url=SecretStr(postgres_dsn)),
        identity=IdentitySettings(jwt_secret=SecretStr("a-test-secret-of-at-least-32-bytes")),
    )


@pytest.fixture(params=[WITH_REDIS, ALONE])
def kept(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings for each way to keep conversations. Where Redis is not used, none is there."""
    if request.param == WITH_REDIS:
        return settings
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
    return settings.model_copy(update={"redis_enabled": False, "redis": nowhere})


async def _execute(servers: TestServers, statement: str) -> None:
    connection = await asyncpg.connect(servers.admin_dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _database(servers: TestServers, name: str) -> str:
    return servers.admin_dsn.rpartition("/")[0] + f"/{name}"

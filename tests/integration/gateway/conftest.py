"""Fixtures of the gateway's tests: one gateway on clean servers, and clients of two users."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from common.assembly import keys_for
from common.redis.client import RedisClient
from common.settings import IdentitySettings, PostgresSettings, RedisSettings, Settings
from tests.gateways import RunningGateway, running_gateway
from tests.keeping import ALONE, WITH_REDIS
from tests.servers import TestServers

URL = "/api/conversations"


@pytest.fixture
async def gateway(kept: Settings) -> AsyncIterator[RunningGateway]:
    """A gateway in local mode. No persister runs: what is appended stays pending."""
    soon = kept.gateway.model_copy(update={"persisted_wait_seconds": 0.2})
    async with running_gateway(kept.model_copy(update={"gateway": soon})) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[httpx.AsyncClient]:
    """The test user's client."""
    async with gateway.client() as client:
        yield client


@pytest.fixture
async def alice(gateway: RunningGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Alice's client."""
    async with gateway.client("alice") as client:
        yield client


@pytest.fixture
async def bob(gateway: RunningGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Bob's client."""
    async with gateway.client("bob") as client:
        yield client


@dataclass(frozen=True)
class Target:
    """A gateway with one conversation of the test user's and one of Alice's."""

    client: httpx.AsyncClient
    redis: RedisClient
    settings: Settings
    own: str
    foreign: str

    async def changes(self) -> int:
        """How many events there are on all partitions, or (without Redis) rows that they became."""
        if not self.settings.uses_redis:
            postgres = await asyncpg.connect(self.settings.postgres.dsn)
            try:
                return await postgres.fetchval(
                    "SELECT (SELECT count(*) FROM messages) + (SELECT sum(version) FROM conversations)"
                )
            finally:
                await postgres.close()
        keys = keys_for(self.settings)
        commands = [("XLEN", keys.events(partition)) for partition in range(keys.partitions)]
        return sum(await self.redis.call_together(*commands))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[WITH_REDIS, ALONE])
async def target(
    request: pytest.FixtureRequest, servers: TestServers, _migrated_template: str
) -> AsyncIterator[Target]:
    """One gateway for all tests of a module: for those that show that it takes no harm."""
    database = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(servers.admin_dsn)
    await admin.execute(f"CREATE DATABASE {database} TEMPLATE {_migrated_template}")
    dsn = servers.admin_dsn.rpartition("/")[0] + f"/{database}"
    settings = Settings(
        redis_enabled=request.param == WITH_REDIS,
        redis=RedisSettings(url=SecretStr(servers.valkey.dsn), key_prefix=database),
        postgres=PostgresSettings(url=SecretStr(dsn)),
        identity=IdentitySettings(jwt_secret=SecretStr("a-test-secret-of-at-least-32-bytes")),
    )
    redis = RedisClient(servers.valkey.dsn)
    async with running_gateway(settings) as gateway, gateway.client() as client:
        async with gateway.client("alice") as alice:
            foreign = (await alice.post(URL, json={})).json()["conversation_id"]
        own = (await client.post(URL, json={})).json()["conversation_id"]
        yield Target(client, redis, settings, own, foreign)
    await redis.aclose()
    await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
    await admin.close()

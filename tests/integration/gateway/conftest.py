"""Fixtures of the gateway's tests: one gateway on clean servers, and clients of two users."""

from collections.abc import AsyncIterator

import httpx
import pytest

from common.settings import Settings
from tests.gateways import RunningGateway, running_gateway


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[RunningGateway]:
    """A gateway in local mode. No persister runs: what is appended stays pending."""
    soon = settings.gateway.model_copy(update={"persisted_wait_seconds": 0.2})
    async with running_gateway(settings.model_copy(update={"gateway": soon})) as gateway:
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

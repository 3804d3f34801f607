"""What is answered is visible to the next read, always.

Hypothesis drives whole instances with anything a client may do, and compares every read with a model: one
while caches are lost and services stand still, one in PostgreSQL alone, and one whose gateways lose Redis
and find it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

import psutil
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from common.settings import Settings
from tests.e2e.conftest import temporary_data_dir
from tests.instances import RunningUp, running_up
from tests.properties.clients import Clients, ClientsOfRedis
from tests.properties.outages import ClientsThroughOutages, breakable_instance
from tests.properties.running import run_machine

SERVICES = ("services.persister", "services.cache_builder")
ENVIRONMENT = {
    # Small bounds, so that a few steps cross them, and short waits for services that stand still.
    "SESSION_MAX_MESSAGES": "4",
    "REDIS_LIST_MAX_CONVERSATIONS": "3",
    "GATEWAY_REBUILD_WAIT_SECONDS": "0.05",
    "CACHE_BUILDER_LEASE_SECONDS": "0.3",
}


class ClientsOfAnInstance(ClientsOfRedis):
    """Services stand still, too."""

    services: ClassVar[dict[str, psutil.Process]]

    def __init__(self) -> None:
        super().__init__()
        self.stopped: set[str] = set()

    @rule(service=st.sampled_from(SERVICES))
    def pause(self, service: str) -> None:
        if service not in self.stopped:
            self.services[service].suspend()
            self.stopped.add(service)

    @rule()
    def resume(self) -> None:
        self.set_right()

    def set_right(self) -> None:
        for service in self.stopped:
            self.services[service].resume()
        self.stopped.clear()


@contextmanager
def instance(**environment: str) -> Generator[RunningUp]:
    """An instance of our own, with two gateway workers."""
    with temporary_data_dir() as data_dir, asyncio.Runner() as runner:
        running = running_up(data_dir, "--workers", "2", environment=ENVIRONMENT | environment)
        try:
            yield runner.run(running.__aenter__())
        finally:
            runner.run(running.__aexit__(None, None, None))


@pytest.mark.timeout(400)
def test_whatever_happens_a_read_sees_what_was_answered() -> None:
    """Lists that are evicted or expire, a persister or a cache builder that does nothing for a while."""
    with instance() as up:

        class Here(ClientsOfAnInstance):
            urls, settings = (up.url,), up.settings
            services: ClassVar = {name: up.find(name) for name in SERVICES}

        run_machine(Here, examples=20)


@pytest.mark.timeout(400)
def test_in_postgresql_alone_a_read_sees_what_was_answered() -> None:
    """Without Redis nothing can be lost or late: the same answers to the same clients."""
    with instance(CHAT_HISTORY_MODE="local_psql") as up:

        class Here(Clients):
            urls, settings = (up.url,), up.settings

        run_machine(Here, examples=10)


@pytest.mark.timeout(400)
def test_while_redis_comes_and_goes_a_read_sees_what_was_answered(settings: Settings) -> None:
    """See tests/properties/outages.py."""
    with breakable_instance(settings) as breakable:

        class Here(ClientsThroughOutages):
            urls, settings, instance = breakable.urls, breakable.settings, breakable

        run_machine(Here, examples=8)

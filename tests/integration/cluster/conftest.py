"""Fixtures of a Redis cluster: the session's own, and one of a module that moves slots and loses data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.settings import Settings
from tests.cluster import Cluster, redis_settings, running_cluster


@pytest.fixture
def whole(cluster: Cluster) -> Cluster:
    """The session's cluster, empty, every node up and with the slots that it began with."""
    cluster.clear()
    return cluster


@pytest.fixture(scope="module")
def _of_module() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def own(_of_module: Cluster) -> Cluster:
    """A cluster whose slots may be anywhere."""
    _of_module.clear()
    return _of_module


@pytest.fixture
def clustered(settings: Settings, whole: Cluster) -> Settings:
    """Settings of an instance on the session's cluster."""
    return settings.model_copy(update={"redis": redis_settings(whole.dsn)})

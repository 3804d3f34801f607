"""The one place where a client of the log's Redis is made."""

from __future__ import annotations

from common.redis.client import RedisClient
from common.redis.cluster import ClusterClient
from common.redis.commands import Admit, Client
from common.settings import RedisSettings


def connect(settings: RedisSettings, *, admit: Admit | None = None, response_timeout: float = 5.0) -> Client:
    """A client of the Redis that `settings` name; it connects when it is first used. See `RedisClient`."""
    kind = ClusterClient if settings.cluster else RedisClient
    return kind(settings.dsn, response_timeout=response_timeout, admit=admit)

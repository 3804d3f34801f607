"""What `turnlog status` tells. Each part is None, with the reason beside it, where it cannot be had."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class PartitionStatus(_Part):
    """One partition of the log. Ages in seconds; `oldest_seconds` of the first event not in PostgreSQL.

    `refuses` names the bound for which changes are refused, or ''; `waiting_bytes` of not_read and pending.
    """

    partition: int
    events: int
    not_read: int
    pending: int
    parked: int
    oldest_seconds: float | None
    waiting_bytes: int = 0
    refuses: str = ""
    committed_position: str | None


class BreakerStatus(_Part):
    """A persister's open breaker: most events are refused, so it holds them back instead of parking them."""

    open_seconds: float
    held: int
    error: str


class NodeStatus(_Part):
    """One primary of a Redis cluster; figures are None where it is `away`, which says why."""

    name: str
    used_bytes: int | None = None
    max_bytes: int | None = None
    keys: int | None = None
    away: str | None = None


class RedisStatus(_Part):
    """Redis: the log and the cache. `max_bytes` 0: no limit is set; rates are None without a read.

    Of a cluster the figures are those of all `nodes` that answer, and `partitions` are theirs.
    """

    version: str
    used_bytes: int
    max_bytes: int
    keys: int
    evicted_keys: int
    append_only: bool
    hits_last_hour: int
    misses_last_hour: int
    hits_last_day: int
    misses_last_day: int
    partitions: list[PartitionStatus]
    breaker: BreakerStatus | None = None
    nodes: list[NodeStatus] = []
    """The primaries of a cluster; none where Redis is one server."""
    rollbacks: int = 0
    """How often a partition came back older than PostgreSQL, as far as this Redis knows."""

    @property
    def used_percent(self) -> float | None:
        """How full the memory is."""
        return 100 * self.used_bytes / self.max_bytes if self.max_bytes else None


class AuthorityStatus(_Part):
    """Who has the say: `log`, `record`, or on the way from one to the other; since how many seconds.

    `unsettled` conversations have events that may be on the log only; `silent_sessions` were not seen lately.
    """

    holder: str
    since_seconds: float
    unsettled: int
    sessions: int
    silent_sessions: int


class PostgresStatus(_Part):
    """PostgreSQL: the record."""

    users: int
    conversations: int
    deleted_conversations: int
    messages: int
    tombstones: int
    query_logs: int
    database_bytes: int
    last_commit: str | None
    authority: AuthorityStatus


class Service(_Part):
    """A kind of service: whether any of it works, and what is known about that."""

    name: str
    up: bool
    detail: str


class Status(_Part):
    """The whole instance. `problems` says what needs somebody's attention, in words; `notes` what may be as
    it is meant to be.
    """

    url: str
    mode: str
    services: list[Service]
    redis: RedisStatus | None
    postgres: PostgresStatus | None
    problems: list[str]
    notes: list[str] = []
    """What is worth knowing, and needs nobody."""

    @property
    def healthy(self) -> bool:
        """Whether everything answers."""
        return self.postgres is not None and all(service.up for service in self.services)


def percent(hits: int, misses: int) -> float | None:
    """A cache's hit rate."""
    return 100 * hits / (hits + misses) if hits + misses else None

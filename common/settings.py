"""The one typed settings tree, read from the environment and `.env`, then passed in.

The groups are plain frozen models, so that `Settings()` is the defaults and a test builds what it needs
without the machine's environment leaking in. Only `load_settings` reads the environment.
"""

import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)

DEFAULT_ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


class SettingsError(Exception):
    """A setting is missing or wrong; the text names the environment variable, never its value."""


class Env(NamedTuple):
    """Marks a field whose environment variable is not its group's prefix and its own name."""

    name: str


class ChatHistoryMode(StrEnum):
    """Where conversations are kept and who the user is."""

    LOCAL = "local"
    LOCAL_PSQL = "local_psql"
    POSTGRES = "postgres"
    LOCAL_REDIS = "local_redis"
    REDIS = "redis"

    @property
    def uses_redis(self) -> bool:
        """Whether this mode has a log and a cache in front of PostgreSQL."""
        return self not in (ChatHistoryMode.LOCAL_PSQL, ChatHistoryMode.POSTGRES)

    @property
    def has_test_user(self) -> bool:
        """Whether a request without a token is the test user's."""
        return self.value.startswith("local")


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(_Group):
    """The log and the cache. `url` wins over the split variables."""

    url: SecretStr | None = None
    host: str | None = None
    port: int = Field(default=6379, ge=1, le=65535)
    password: SecretStr | None = None
    ssl: bool = False
    cluster: bool = False
    ttl_seconds: int = Field(default=1800, ge=1)
    session_max_messages: Annotated[int, Env("SESSION_MAX_MESSAGES"), Field(ge=1, le=10_000)] = 50
    key_prefix: str = Field(default="chat", pattern=r"^[A-Za-z0-9_.-]+$")
    partitions: int = Field(default=8, ge=1, le=1024)
    list_max_conversations: int = Field(default=500, ge=1)
    idempotency_ttl_seconds: int = Field(default=86_400, ge=1)
    max_memory_percent: int = Field(default=90, ge=0, le=100)
    max_memory_bytes: int = Field(default=0, ge=0)

    @property
    def configured(self) -> bool:
        """Whether a server of the user's own was named."""
        return self.url is not None or self.host is not None

    @property
    def dsn(self) -> str:
        """The URL to connect to, password included: never log it."""
        if self.url is not None:
            return self.url.get_secret_value()
        scheme = "rediss" if self.ssl else "redis"
        login = f":{quote(self.password.get_secret_value(), safe='')}@" if self.password else ""
        return f"{scheme}://{login}{self.host or '127.0.0.1'}:{self.port}/0"


class PostgresSettings(_Group):
    """The record. `url` (DATABASE_URL) wins over the split variables."""

    url: Annotated[SecretStr | None, Env("DATABASE_URL")] = None
    host: str | None = None
    port: int = Field(default=5432, ge=1, le=65535)
    admin_login: str = "turnlog"
    admin_password: SecretStr | None = None
    database: str = "turnlog"
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    pool_min_size: int = Field(default=1, ge=0)
    pool_max_size: int = Field(default=10, ge=1)
    statement_timeout_seconds: float = Field(default=10.0, gt=0)

    @property
    def configured(self) -> bool:
        """Whether a server of the user's own was named."""
        return self.url is not None or self.host is not None

    @property
    def dsn(self) -> str:
        """The URL to connect to, password included: never log it."""
        if self.url is not None:
            # The driver suffix of SQLAlchemy URLs, which many DATABASE_URLs carry, means nothing to asyncpg.
            scheme, separator, rest = self.url.get_secret_value().partition("://")
            return scheme.partition("+")[0] + separator + rest
        login = quote(self.admin_login, safe="")
        if self.admin_password is not None:
            login += ":" + quote(self.admin_password.get_secret_value(), safe="")
        place = f"{self.host or '127.0.0.1'}:{self.port}/{quote(self.database, safe='')}"
        return f"postgresql://{login}@{place}?sslmode={self.sslmode}"

    @model_validator(mode="after")
    def _pool_sizes_agree(self) -> "PostgresSettings":
        if self.pool_min_size > self.pool_max_size:
            raise ValueError("POSTGRES_POOL_MIN_SIZE is larger than POSTGRES_POOL_MAX_SIZE")
        return self


class IdentitySettings(_Group):
    """Who the user of a request is; common/identity/safety.py refuses what would be unsafe."""

    jwt_secret: SecretStr | None = None
    jwt_algorithms: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = ("HS256",)
    jwt_public_key_file: FilePath | None = None
    jwt_jwks_url: str | None = None
    jwt_jwks_cache_seconds: float = Field(default=300.0, ge=1)
    jwt_jwks_stale_seconds: float = Field(default=86_400.0, ge=0)
    jwt_jwks_refetch_seconds: float = Field(default=10.0, ge=0.1)
    jwt_jwks_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    jwt_audience: str = "turnlog"
    jwt_service_audience: str = "turnlog-service"
    jwt_issuer: str = "turnlog"
    jwt_user_claim: str = "sub"
    jwt_scope_claim: str = "scope"
    jwt_leeway_seconds: int = Field(default=30, ge=0, le=600)
    sso_enabled: bool = False
    sso_trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split_commas)] = ()
    local_test_client_id: str = "local-test-client"
    local_test_username: str = "local-test-user"


class LimitsSettings(_Group):
    """What one request may ask for; over a limit is a 4xx that names it.

    And how much of the log may wait for PostgreSQL, in each partition; over that is a 503.
    """

    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    max_batch_messages: int = Field(default=1000, ge=1)
    max_depth: int = Field(default=100, ge=2, le=500)
    max_title_chars: int = Field(default=500, ge=1)
    max_metadata_bytes: int = Field(default=65_536, ge=2)
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=64)
    max_read_limit: int = Field(default=1000, ge=1)
    max_page_size: int = Field(default=500, ge=1)
    backlog_max_events: int = Field(default=250_000, ge=0)
    backlog_max_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    backlog_max_age_seconds: int = Field(default=3600, ge=0)


class GatewaySettings(_Group):
    """The HTTP server."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    rebuild_wait_seconds: float = Field(default=0.5, ge=0)
    persisted_wait_seconds: float = Field(default=10.0, gt=0)
    store_deadline_seconds: float = Field(default=5.0, gt=0)
    max_requests: int = Field(default=512, ge=1)
    max_body_bytes: int = Field(default=128 * 1024 * 1024, ge=1024)
    max_exports: int = Field(default=8, ge=1)
    stall_seconds: float = Field(default=30.0, gt=0)
    allow_public_test_user: bool = False


class PersisterSettings(_Group):
    """The consumer that writes the log to PostgreSQL."""

    batch_events: int = Field(default=1000, ge=1)
    block_ms: int = Field(default=1000, ge=1)
    claim_min_idle_seconds: float = Field(default=30.0, gt=0)
    replay_window_seconds: int = Field(default=86_400, ge=0)
    breaker_enabled: bool = True
    breaker_share: float = Field(default=0.5, gt=0, le=1)
    breaker_min_events: int = Field(default=20, ge=1)
    breaker_window_seconds: float = Field(default=600.0, gt=0)
    breaker_probe_seconds: float = Field(default=30.0, gt=0)


class CacheBuilderSettings(_Group):
    """The process that rebuilds cached lists."""

    concurrency: int = Field(default=16, ge=1)
    lease_seconds: float = Field(default=5.0, gt=0)


class EmbeddedSettings(_Group):
    """Other programs for the servers that `up` embeds; without them those of the wheels."""

    postgres_bin: DirectoryPath | None = None
    redis_server: FilePath | None = None


class ObservabilitySettings(_Group):
    """Logs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class Settings(_Group):
    """Everything that can be configured. `Settings()` is the defaults."""

    mode: Annotated[ChatHistoryMode, Env("CHAT_HISTORY_MODE")] = ChatHistoryMode.LOCAL
    redis_enabled: bool = True
    conversation_history_days: int = Field(default=7, ge=0)
    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    identity: IdentitySettings = IdentitySettings()
    limits: LimitsSettings = LimitsSettings()
    gateway: GatewaySettings = GatewaySettings()
    persister: PersisterSettings = PersisterSettings()
    cache_builder: CacheBuilderSettings = CacheBuilderSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @property
    def uses_redis(self) -> bool:
        """Whether the log and the cache are in use: the mode has them and REDIS_ENABLED is not false."""
        return self.mode.uses_redis and self.redis_enabled


_PREFIXES = {
    "redis": "REDIS_",
    "postgres": "POSTGRES_",
    "limits": "LIMITS_",
    "gateway": "GATEWAY_",
    "persister": "PERSISTER_",
    "cache_builder": "CACHE_BUILDER_",
    "embedded": "EMBEDDED_",
}


class Variable(NamedTuple):
    """One environment variable: its name and the way to its field, e.g. ("redis", "port")."""

    name: str
    path: tuple[str, ...]


def variables() -> Iterator[Variable]:
    """Every environment variable of the tree, in the tree's order."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
            for variable in _group_variables(field.annotation, _PREFIXES.get(name, "")):
                yield Variable(variable.name, (name, *variable.path))
    yield from _group_variables(Settings, "")


def _group_variables(group: type[BaseModel], prefix: str) -> Iterator[Variable]:
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
            continue
        given = next((mark.name for mark in field.metadata if isinstance(mark, Env)), None)
        yield Variable(given or f"{prefix}{name}".upper(), (name,))


def load_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = DEFAULT_ENV_FILE
) -> Settings:
    """Read the environment (default: this process's) over `env_file`, when that exists.

    TURNLOG_ENV_FILE names another file than the `.env` beside the program. An empty value counts as not
    set. Raises SettingsError, which names the variable and what is wrong.
    """
    values: dict[str, str | None] = {}
    if env_file is DEFAULT_ENV_FILE:
        env_file = Path(os.environ.get("TURNLOG_ENV_FILE", DEFAULT_ENV_FILE))
    if env_file is not None and env_file.is_file():
        values.update(dotenv_values(env_file, interpolate=False))
    values.update(os.environ if environ is None else environ)
    tree: dict[str, Any] = {}
    for variable in variables():
        value = values.get(variable.name)
        if value:
            group = tree
            for step in variable.path[:-1]:
                group = group.setdefault(step, {})
            group[variable.path[-1]] = value.strip()
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    names = {variable.path: variable.name for variable in variables()}
    lines: list[str] = []
    for problem in error.errors(include_input=False, include_url=False):
        path = tuple(str(step) for step in problem["loc"])
        name = names.get(path) or names.get(path[:2]) or ".".join(path)
        lines.append(f"{name}: {problem['msg']}")
    return "; ".join(lines)

"""The servers of an instance: the user's own, or embedded ones where none is named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.settings import Settings
from tools.embedded.home import EmbeddedHome, embedded_home
from tools.embedded.postgres import postgres_server
from tools.embedded.server import ServerSpec, free_port
from tools.embedded.valkey import valkey_server
from tools.errors import CommandError
from tools.instance import kept_secret


@dataclass(frozen=True)
class Embedded:
    """An embedded server to run. `prepare` makes what it needs on disk and describes it, on every start."""

    name: str
    prepare: Callable[[], ServerSpec]


@dataclass(frozen=True)
class Servers:
    """Where PostgreSQL and Redis are, and what has to be started for that, in order."""

    database_url: str
    redis_url: str | None
    embedded: tuple[Embedded, ...]


def plan_servers(settings: Settings, data_dir: Path) -> Servers:
    """Decide what is embedded: in the `local*` modes, each server that the settings do not name.

    Raises CommandError when a mode that is not local misses a server, or one cannot be prepared.
    """
    missing = _missing(settings)
    if missing and not settings.mode.has_test_user:
        raise CommandError(f"CHAT_HISTORY_MODE={settings.mode} needs {' and '.join(missing)}")
    home = embedded_home(data_dir, settings.embedded) if missing else None
    embedded: list[Embedded] = []
    database_url, redis_url = settings.postgres.dsn, settings.redis.dsn if settings.uses_redis else None
    if home and not settings.postgres.configured:
        prepare = _postgres(home)
        database_url = prepare().dsn
        embedded.append(Embedded("postgres", prepare))
    if home and settings.uses_redis and not settings.redis.configured:
        prepare = _valkey(home)
        redis_url = prepare().dsn
        embedded.append(Embedded("valkey", prepare))
    return Servers(database_url, redis_url, tuple(embedded))


def _missing(settings: Settings) -> list[str]:
    missing = [] if settings.postgres.configured else ["DATABASE_URL"]
    if settings.uses_redis and not settings.redis.configured:
        missing.append("REDIS_URL")
    return missing


def _postgres(home: EmbeddedHome) -> Callable[[], ServerSpec]:
    port, password = free_port(), kept_secret(home.data_dir, "postgres")
    return lambda: postgres_server(home, port=port, password=password)


def _valkey(home: EmbeddedHome) -> Callable[[], ServerSpec]:
    port, password = free_port(), kept_secret(home.data_dir, "valkey")
    return lambda: valkey_server(home, port=port, password=password)

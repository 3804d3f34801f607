"""The running instance of a data directory: who holds it, and how other commands reach it."""

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from common.settings import Settings, load_settings
from tools.errors import CommandError
from tools.whole_file import write_whole

_LOCK = "lock"
_RECORD = "instance.json"


class Instance(BaseModel):
    """What `up` writes down about itself, readable by its owner only."""

    model_config = ConfigDict(frozen=True)

    pid: int
    url: str
    redis_url: str | None
    """None in the modes without Redis."""
    database_url: str
    jwt_secret: str

    def apply(self, settings: Settings) -> Settings:
        """The settings of a process that works with this instance."""
        redis = settings.redis.model_copy(update={"url": SecretStr(self.redis_url)} if self.redis_url else {})
        postgres = settings.postgres.model_copy(update={"url": SecretStr(self.database_url)})
        identity = settings.identity.model_copy(update={"jwt_secret": SecretStr(self.jwt_secret)})
        return settings.model_copy(update={"redis": redis, "postgres": postgres, "identity": identity})

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for the processes of the instance."""
        values = {"DATABASE_URL": self.database_url, "JWT_SECRET": self.jwt_secret}
        return {**values, "REDIS_URL": self.redis_url} if self.redis_url else values


def running_instance(data_dir: Path) -> Instance | None:
    """The instance that runs on `data_dir`, or None. One that is only just starting counts as none."""
    if not _is_locked(data_dir / _LOCK):
        return None
    try:
        return Instance.model_validate_json((data_dir / _RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def load_instance(data_dir: Path) -> Settings:
    """Settings to reach the instance of `data_dir`, or the servers of one's own that the environment names.

    Raises CommandError when there is neither, or when both are there and are not the same servers, and
    SettingsError for a wrong setting.
    """
    settings = load_settings()
    instance = running_instance(data_dir)
    if instance is not None:
        _refuse_other_servers(settings, instance, data_dir)
        return instance.apply(settings)
    if settings.postgres.configured and (settings.redis.configured or not settings.uses_redis):
        return settings
    raise CommandError(
        f"no running instance at {data_dir}; start one with ./turnlog up"
        " (or name servers of your own in REDIS_URL and DATABASE_URL)"
    )


def _refuse_other_servers(settings: Settings, instance: Instance, data_dir: Path) -> None:
    # Whoever names servers means those, and would not notice that the instance's were taken.
    others: list[str] = []
    if instance.redis_url and settings.redis.configured and settings.redis.dsn != instance.redis_url:
        others.append("REDIS_URL" if settings.redis.url else "REDIS_HOST")
    if settings.postgres.configured and settings.postgres.dsn != instance.database_url:
        others.append("DATABASE_URL" if settings.postgres.url else "POSTGRES_HOST")
    if others:
        raise CommandError(
            f"{' and '.join(others)} and the instance that runs on {data_dir} ({instance.url}, process"
            f" {instance.pid}) are different servers; unset the one or stop the other, or name a --data-dir"
            " on which nothing runs"
        )


def write_instance(data_dir: Path, instance: Instance) -> None:
    """Write the record, whole or not at all."""
    write_whole(data_dir / _RECORD, instance.model_dump_json(indent=2) + "\n")


@contextmanager
def instance_lock(data_dir: Path) -> Generator[None]:
    """Hold `data_dir` for as long as this process lives. Raises CommandError when another one does.

    The lock is the kernel's, so that not even a crash leaves it behind.
    """
    try:
        descriptor = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(_not_ours(data_dir, error)) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(_already_running(data_dir)) from None
        (data_dir / _RECORD).unlink(missing_ok=True)
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        (data_dir / _RECORD).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def kept_secret(data_dir: Path, name: str) -> str:
    """A random secret of this data directory: made on the first call, the same ever after."""
    directory = data_dir / "secrets"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / name
    if not path.exists():
        write_whole(path, secrets.token_hex(32))
    return path.read_text().strip()


def _already_running(data_dir: Path) -> str:
    instance = running_instance(data_dir)
    if instance is not None:
        return f"already running on {data_dir}: {instance.url}, process {instance.pid}"
    pid = (data_dir / _LOCK).read_text().strip() or "unknown"
    return f"another ./turnlog up is starting or stopping on {data_dir}: process {pid}"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise CommandError(_not_ours(path.parent, error)) from None
    return False


def _not_ours(data_dir: Path, error: OSError) -> str:
    return f"cannot use the data directory {data_dir}: {error.strerror}; it belongs to {data_dir.owner()}"

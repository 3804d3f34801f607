"""The settings tree: where values come from, and what is said about wrong ones."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.settings import (
    ChatHistoryMode,
    PostgresSettings,
    RedisSettings,
    Settings,
    SettingsError,
    load_settings,
    variables,
)
from tools.paths import ROOT

EXAMPLE = ROOT / ".env.example"
NAMES_USERS_ALREADY_HAVE = set(
    """
    CHAT_HISTORY_MODE REDIS_ENABLED REDIS_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD REDIS_SSL
    REDIS_TTL_SECONDS SESSION_MAX_MESSAGES DATABASE_URL POSTGRES_HOST POSTGRES_PORT
    POSTGRES_ADMIN_LOGIN POSTGRES_ADMIN_PASSWORD POSTGRES_DATABASE POSTGRES_SSLMODE
    CONVERSATION_HISTORY_DAYS LOCAL_TEST_CLIENT_ID LOCAL_TEST_USERNAME
    """.split()  # noqa: SIM905 - a table of names
)


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be configured to begin."""
    assert load_settings({}, env_file=None) == Settings()


def test_the_example_names_every_variable_and_no_other() -> None:
    """`.env.example` is the complete list: nobody has to read code to find a setting."""
    named = re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {variable.name for variable in variables()}
    assert set(named) >= NAMES_USERS_ALREADY_HAVE


def test_the_example_holds_the_defaults() -> None:
    """Copying it to `.env` changes nothing."""
    assert load_settings({}, env_file=EXAMPLE) == Settings()


def test_every_variable_of_the_example_has_a_comment() -> None:
    """One line above each says what it does."""
    lines = EXAMPLE.read_text().splitlines()
    bare = [line for above, line in pairwise(lines) if re.match("[A-Z]", line) and not above.startswith("# ")]
    assert bare == []


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A value from the process's environment is nearer than one from `.env`."""
    file = tmp_path / ".env"
    file.write_text("GATEWAY_PORT=1111\nREDIS_PORT=2222\n")
    settings = load_settings({"GATEWAY_PORT": "3333"}, env_file=file)
    assert (settings.gateway.port, settings.redis.port) == (3333, 2222)


def test_another_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TURNLOG_ENV_FILE, for several set-ups beside each other; a file that is not there is none."""
    file = tmp_path / "other.env"
    file.write_text("GATEWAY_PORT=1111\n")
    monkeypatch.setenv("TURNLOG_ENV_FILE", str(file))
    assert load_settings().gateway.port == 1111
    monkeypatch.setenv("TURNLOG_ENV_FILE", "/nowhere/.env")
    assert load_settings() == Settings()


def test_a_wrong_value_is_named_and_not_shown() -> None:
    """The message names the variable, says what is wrong, and never repeats the value: it may be a secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"REDIS_PORT": "s3cret", "CHAT_HISTORY_MODE": "cloud"}, env_file=None)
    text = str(caught.value)
    assert "REDIS_PORT: " in text
    assert "CHAT_HISTORY_MODE: Input should be 'local'" in text
    assert "s3cret" not in text


def test_settings_do_not_show_secrets() -> None:
    """Printing the tree, in a log or a traceback, gives nothing away."""
    secrets = {
        "REDIS_PASSWORD": "hush-1",
        "DATABASE_URL": "postgresql://u:hush-2@h/d",
        "JWT_SECRET": "hush-3",
    }
    assert "hush" not in repr(load_settings(secrets, env_file=None))


def test_nobody_is_taken_over_from_while_a_statement_may_still_run() -> None:
    """A slow persister is no dead one: its entries are claimed well after its statement's time is over."""
    settings = Settings()
    assert settings.persister.claim_min_idle_seconds >= 2 * settings.postgres.statement_timeout_seconds


@pytest.mark.parametrize(
    ("settings", "dsn"),
    [
        (RedisSettings(), "redis://127.0.0.1:6379/0"),
        (RedisSettings(host="h", port=7, ssl=True), "rediss://h:7/0"),
        (RedisSettings(host="h", password=SecretStr("p@:/")), "redis://:p%40%3A%2F@h:6379/0"),
        (RedisSettings(url=SecretStr("redis://u"), host="ignored"), "redis://u"),
    ],
)
def test_the_redis_address_is_a_url_or_its_parts(settings: RedisSettings, dsn: str) -> None:
    """The URL wins over the parts; odd characters in a password are escaped."""
    assert settings.dsn == dsn


@pytest.mark.parametrize(
    ("settings", "dsn"),
    [
        (PostgresSettings(), "postgresql://turnlog@127.0.0.1:5432/turnlog?sslmode=prefer"),
        (
            PostgresSettings(host="h", admin_login="a", admin_password=SecretStr("p/"), sslmode="require"),
            "postgresql://a:p%2F@h:5432/turnlog?sslmode=require",
        ),
        (PostgresSettings(url=SecretStr("postgresql+asyncpg://h/d")), "postgresql://h/d"),
    ],
)
def test_the_postgres_address_is_a_url_or_its_parts(settings: PostgresSettings, dsn: str) -> None:
    """SQLAlchemy's driver suffix, which many a DATABASE_URL carries, is dropped."""
    assert settings.dsn == dsn


@pytest.mark.parametrize(
    ("mode", "uses_redis", "has_test_user"),
    [
        (ChatHistoryMode.LOCAL, True, True),
        (ChatHistoryMode.LOCAL_PSQL, False, True),
        (ChatHistoryMode.POSTGRES, False, False),
        (ChatHistoryMode.LOCAL_REDIS, True, True),
        (ChatHistoryMode.REDIS, True, False),
    ],
)
def test_modes_say_where_and_who(mode: ChatHistoryMode, uses_redis: bool, has_test_user: bool) -> None:
    """The table of the five modes; REDIS_ENABLED=false takes Redis out of any of them."""
    assert Settings(mode=mode).uses_redis == uses_redis
    assert mode.has_test_user == has_test_user
    assert not Settings(mode=mode, redis_enabled=False).uses_redis

"""`turnlog up` with an unsafe set-up: refused in one line, before anything is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.instances import turnlog
from tools.paths import ROOT

SERVERS = {"DATABASE_URL": "postgresql://x:y@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
ISSUER = {"JWT_ALGORITHMS": "RS256", "JWT_JWKS_URL": "https://issuer.example/keys"}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"GATEWAY_HOST": "0.0.0.0"}, "GATEWAY_ALLOW_PUBLIC_TEST_USER"),
        ({"JWT_SECRET": "hush-hush"}, "JWT_SECRET"),
        ({"SSO_ENABLED": "true", "SSO_TRUSTED_PROXIES": "10.0.0.4"}, "SSO_ENABLED"),
        ({**SERVERS, "CHAT_HISTORY_MODE": "redis", "SSO_ENABLED": "true"}, "SSO_TRUSTED_PROXIES"),
        ({**SERVERS, "CHAT_HISTORY_MODE": "redis", "JWT_ALGORITHMS": "RS256"}, "JWT_JWKS_URL"),
        ({**SERVERS, **ISSUER, "CHAT_HISTORY_MODE": "postgres", "JWT_ALGORITHMS": "HS256"}, "JWT_ALGORITHMS"),
    ],
)
def test_up_refuses_what_is_unsafe_before_it_starts_anything(
    tmp_path: Path, variables: dict[str, str], named: str
) -> None:
    """The line says what to set, and not the secret; neither a server nor a log was made."""
    data_dir = tmp_path / "data"
    ended = subprocess.run(
        turnlog("up", "--data-dir", str(data_dir), "--port", "0"),
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("turnlog: ")
    assert named in line
    assert "hush" not in line
    assert {path.name for path in data_dir.iterdir()} <= {"lock", "secrets"}

"""Clients against the model while Redis comes and goes, for longer than the suite does.

.venv/bin/python -m tests.properties --examples 200 [--seed S]
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys

import structlog
from pydantic import SecretStr

from common.postgres.migrations import migrate
from common.settings import IdentitySettings, PostgresSettings, RedisSettings, Settings
from tests.properties.outages import ClientsThroughOutages, breakable_instance
from tests.properties.running import run_machine
from tests.servers import run_apart, running_servers


def main(examples: int, seed: int) -> None:
    """Run on servers of our own; what is wrong is raised, with the steps that show it."""
    with running_servers() as servers:
        run_apart(migrate(servers.admin_dsn))
        own = Settings(
            redis=RedisSettings(url=SecretStr(servers.valkey.dsn)),
            postgres=PostgresSettings(url=SecretStr(servers.admin_dsn)),
            identity=IdentitySettings(jwt_secret=SecretStr(secrets.token_hex(16))),
        )
        with breakable_instance(own) as breakable:

            class Here(ClientsThroughOutages):
                urls, settings, instance = breakable.urls, breakable.settings, breakable

            run_machine(Here, examples=examples, seed=seed)
            say(f"{examples} examples, Redis lost {breakable.times_lost} times: every answer right")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    say(f"seed {arguments.seed}")
    main(arguments.examples, arguments.seed)

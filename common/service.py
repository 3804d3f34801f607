"""How a service process begins: settings, logs, event loop, and one plain line where it must not run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from common.domain.errors import UnsafeConfiguration
from common.observability.logging import configure_logging
from common.runtime import run
from common.settings import Settings, SettingsError, load_settings


def run_service(name: str, main: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(settings, stop)` until it returns; `stop` is set when the process is asked to stop.

    Settings that are wrong, or unsafe, end the process with status 2 and one line on standard error.
    """
    try:
        settings = load_settings()
        configure_logging(name, settings.observability)
        run(partial(main, settings))
    except (SettingsError, UnsafeConfiguration) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def need_redis(settings: Settings) -> None:
    """Raise UnsafeConfiguration where this process has nothing to do, because there is no log."""
    if not settings.uses_redis:
        raise UnsafeConfiguration(
            f"there is nothing to do without Redis (CHAT_HISTORY_MODE={settings.mode},"
            f" REDIS_ENABLED={str(settings.redis_enabled).lower()}): the gateway writes to PostgreSQL itself"
        )

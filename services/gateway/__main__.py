"""`python -m services.gateway`: the process that owns the socket and the workers.

The workers, in `worker.py`, connect and serve.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from common.domain.errors import UnsafeConfiguration
from common.identity.safety import refuse_unsafe_identity
from common.observability.logging import configure_logging
from common.runtime import exit_with_parent
from common.settings import Settings, SettingsError, load_settings
from services.gateway.worker import SERVICE, load_worker

WORKER_GRACE_SECONDS: Final = 10
ACCEPT_BACKLOG: Final = 1024
CONNECTIONS_PER_REQUEST: Final = 4
"""Connections that a worker keeps for each request that it may have in progress: most are idle."""
# Granian's own lines go where ours go.
_SERVER_LOG: Final[dict[str, Any]] = {
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}


def main() -> None:
    """Serve until asked to stop. An unsafe set-up is one line on standard error and status 2."""
    try:
        settings = load_settings()
        configure_logging(SERVICE, settings.observability)
        _check(settings)
    except (SettingsError, UnsafeConfiguration) as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    exit_with_parent()
    # Workers are fresh processes, not copies of this one with its threads and half of its pipes.
    multiprocessing.set_start_method("spawn")
    gateway = settings.gateway
    Granian(
        SERVICE,
        address=gateway.host,
        port=gateway.port,
        workers=gateway.workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        # Connections: further ones wait in the kernel, unaccepted.
        backlog=ACCEPT_BACKLOG,
        backpressure=gateway.max_requests * CONNECTIONS_PER_REQUEST,
        respawn_failed_workers=True,
        workers_kill_timeout=WORKER_GRACE_SECONDS,
        log_dictconfig=_SERVER_LOG,
    ).serve(target_loader=load_worker, wrap_loader=False)


def _check(settings: Settings) -> None:
    """Refuse here, once and in one line, what every worker would refuse."""
    refuse_unsafe_identity(settings)


if __name__ == "__main__":
    main()

"""The gateway's port: free before anything starts, ready before anybody is told."""

import asyncio
import socket

from tools.embedded.server import free_port
from tools.errors import CommandError


def choose_port(host: str, port: int) -> int:
    """`port` if it is free on `host`; any free one for 0. Raises CommandError when it is taken."""
    if port == 0:
        return free_port(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = "choose another with --port, or --port 0 for any free one"
            raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}; {hint}") from None
    return port


def reachable_host(host: str) -> str:
    """The address at which a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - this is the way back from it


def url_of(host: str, port: int) -> str:
    """The gateway's URL."""
    address = reachable_host(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


async def is_ready(host: str, port: int) -> bool:
    """Whether `GET /readyz` answers 200."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(reachable_host(host), port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]

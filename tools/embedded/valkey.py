"""An embedded Valkey: its configuration file and the command that starts it.

It listens on 127.0.0.1 only, asks for a password, writes every command to disk before it answers, never
evicts, and takes half of the machine's memory at most.
"""

import asyncio
from collections.abc import Mapping

from tools.embedded.home import EmbeddedHome
from tools.embedded.memory import valkey_memory
from tools.embedded.programs import valkey_program
from tools.embedded.server import ServerSpec


def valkey_server(
    home: EmbeddedHome, *, port: int, password: str, options: Mapping[str, str] | None = None
) -> ServerSpec:
    """Describe the server and write its configuration. `options` are lines of that file, by name."""
    program = valkey_program(home)
    directory = home.make_directory("valkey")
    parameters = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": _quoted(str(directory)),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": '""',
        "maxmemory": str(valkey_memory()),
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
        "databases": "16",
        **(options or {}),
    }
    # A file, not arguments: those can be read by everybody on the machine.
    text = "".join(f"{name} {value}\n" for name, value in parameters.items())
    configuration = home.write_private("valkey.conf", text)
    dsn = f"redis://:{password}@127.0.0.1:{port}/0"

    async def answers() -> bool:
        return await _pings(port, password)

    return ServerSpec(
        name="valkey",
        command=[str(program), str(configuration)],
        stop_signals=("TERM", "KILL"),
        directory=home.path,
        pid_file=home.data_dir / "valkey.pid",
        dsn=dsn,
        answers=answers,
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def _pings(port: int, password: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        async with asyncio.timeout(5):
            # While it still loads its data, it answers PING with an error.
            return [await reader.readline(), await reader.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()

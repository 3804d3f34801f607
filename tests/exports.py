"""What tests of exports ask for and read: over a socket of their own, so that they can be slow."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from common.domain.ids import ConversationId, UserId
from common.domain.messages import new_message
from tests.persisting import persist
from tests.redis_parts import NOW
from tests.stage import Scene

MEGABYTE = 1024 * 1024
END = b"0\r\n\r\n"
"""How a chunked reply ends that is whole."""


async def large_conversation(scene: Scene, user: UserId, megabytes: int) -> ConversationId:
    """A conversation of messages of a megabyte each, in PostgreSQL and nowhere else. They do not compress."""
    conversation = await scene.conversation(user=user)
    for first in range(0, megabytes, 4):
        messages = [
            new_message({"content": secrets.token_urlsafe(MEGABYTE * 3 // 4)}, at_ms=NOW)
            for _ in range(first, min(first + 4, megabytes))
        ]
        await scene.parts.publisher.append(user, conversation, messages, at_ms=NOW)
    await persist(scene, user)
    await scene.drop_caches()
    return conversation


def lines(text: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


async def export(client: httpx.AsyncClient, path: str, form: str = "json") -> httpx.Response:
    """An export that succeeds."""
    reply = await client.get(f"/api/{path}", params={"format": form})
    assert reply.status_code == 200, reply.text
    return reply


class SlowReader:
    """A client that reads a reply when it is told to, and no earlier: its own buffers are small."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.bytes = 0
        self.last = b""

    def read(self, most: int) -> int:
        """Read up to `most` bytes; returns how many came, 0 at the end."""
        received = 0
        while received < most:
            chunk = self._connection.recv(min(65_536, most - received))
            if not chunk:
                break
            received += len(chunk)
            self.last = (self.last + chunk)[-4096:]
            if self.last.endswith(END):
                break
        self.bytes += received
        return received

    def read_all(self) -> None:
        """Read until the reply or its connection ends."""
        try:
            while self.read(MEGABYTE) and not self.whole:
                pass
        except ConnectionResetError:
            pass

    @property
    def whole(self) -> bool:
        """Whether the reply came to its end."""
        return self.last.endswith(END)


@contextmanager
def slow_reader(url: str, path: str, token: str) -> Generator[SlowReader]:
    """Ask for `path`; nothing is read yet."""
    place = urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(30)
        connection.connect((place.hostname, place.port))
        request = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        connection.sendall(request.encode())
        yield SlowReader(connection)

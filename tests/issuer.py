"""An issuer of tokens: real keys, a real HTTP server that publishes them, and tokens, forged ones too."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey
Sign = Callable[[bytes], bytes]
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@lru_cache
def rsa_key(name: str, bits: int = 2048) -> RSAPrivateKey:
    """An RSA key that is the same for the same name, in one test run."""
    return generate_rsa(public_exponent=65537, key_size=bits)


@lru_cache
def ec_key(name: str) -> EllipticCurvePrivateKey:
    """A P-256 key, likewise."""
    return generate_ec(SECP256R1())


def public_pem(key: PrivateKey) -> bytes:
    """The public half as a PEM file has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(key: PrivateKey, key_id: str | None, **more: Any) -> dict[str, Any]:
    """The public half as a key set has it."""
    if isinstance(key, RSAPrivateKey):
        described = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        described = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    described.pop("key_ops", None)
    return {**described, **({"kid": key_id} if key_id else {}), "use": "sig", **more}


def b64(data: bytes) -> str:
    """As the parts of a token are written."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def hs256(secret: bytes) -> Sign:
    """Signs with a secret."""
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def signed_by(key: PrivateKey) -> Sign:
    """Signs with a private key, by RS256 or ES256 as its kind is."""
    if isinstance(key, RSAPrivateKey):
        return lambda data: RSAAlgorithm(RSAAlgorithm.SHA256).sign(data, key)
    return lambda data: ECAlgorithm(ECAlgorithm.SHA256).sign(data, key)


def unsigned(_: bytes) -> bytes:
    """No signature at all."""
    return b""


def compact(header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes, sign: Sign) -> str:
    """A token of exactly these parts, whatever sense they make."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    body = ".".join(b64(part) for part in parts)
    return f"{body}.{b64(sign(body.encode()))}"


def claims_of(user: str = "alice", **changes: Any) -> dict[str, Any]:
    """Claims that are accepted, with `changes`; None leaves a claim out."""
    now = int(time.time())
    usual = {"sub": user, "iss": "turnlog", "aud": "turnlog", "iat": now - 60, "exp": now + 600}
    return {name: value for name, value in (usual | changes).items() if value is not None}


@dataclass
class Issuer:
    """Publishes the keys in `keys`, and counts how often it was asked. `answer` replaces its replies."""

    port: int = 0
    keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    asked: int = 0
    answer: Answer | None = None
    serving: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])

    @property
    def url(self) -> str:
        """Where its key set is."""
        return f"http://127.0.0.1:{self.port}/keys"

    def publish(self, **named: PrivateKey) -> None:
        """Have exactly these keys in the set, under these ids."""
        self.keys = [public_jwk(key, key_id) for key_id, key in named.items()]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                if self.answer is not None:
                    await self.answer(writer)
                else:
                    writer.write(http_reply(json.dumps({"keys": self.keys}).encode()))
                await writer.drain()
        finally:
            self.serving.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def http_reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP reply."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def running_issuer(port: int = 0) -> AsyncGenerator[Issuer]:
    """An issuer that listens until the block ends, on a free port unless one is given."""
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", port)
    issuer.port = server.sockets[0].getsockname()[1]
    try:
        yield issuer
    finally:
        server.close()
        left = [*issuer.serving]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

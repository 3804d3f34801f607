"""One connection to Redis that a whole process shares.

All commands of one event-loop tick leave in one write, and any number may be under way: replies are
matched by their order. Nothing is ever sent twice: whoever calls knows whether its command may be.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

import structlog
from hiredis import pack_command  # pyright: ignore[reportUnknownVariableType]
from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from common.domain.errors import LogRefusesWrites, LogUnavailable
from common.redis.commands import Admit, Argument, Client, Command
from common.redis.info import A_CLUSTER
from common.redis.topology import Address, address_of

CONNECT_TIMEOUT_SECONDS: Final = 5.0
MAX_WAITING: Final = 10_000
"""Commands of one client without a reply; further ones are refused, unsent."""
CONNECTION_FAILURES: Final = (RedisError, OSError, TimeoutError, RuntimeError)
"""How a connection fails. RuntimeError is uvloop's, for a write at the moment when the peer has reset it."""

_NOT_READY: Final = (ReadOnlyError, BusyLoadingError, MasterDownError, ClusterDownError, TryAgainError)
_SHORTEST_WAIT_SECONDS: Final = 0.01
REFUSED_SECONDS: Final = 0.1
"""How long a refused client does not even connect again: its callers may be many."""
# Typed by hiredis as if a command had one word.
_pack = cast("Callable[[Command], bytes]", pack_command)

log = structlog.get_logger(__name__)


class RedisClient(Client):
    """A pipelining client for one Redis server.

    `response_timeout` seconds without a reply that is due, and the connection counts as dead (a half-open
    one never says so itself). A blocking command needs a client of its own, with a longer one.

    `admit` is asked once about each new connection, before anything else goes over it. What it raises is
    what the waiting commands get. `name` is what errors call the server. `redirects`: it is a cluster's node,
    and MOVED and ASK are for whoever calls; else they say that it should not be one.
    """

    def __init__(
        self,
        dsn: str,
        *,
        response_timeout: float = 5.0,
        admit: Admit | None = None,
        name: str = "Redis",
        redirects: bool = False,
    ) -> None:
        # The pool is only a factory here: it knows how to turn an URL into a connection.
        self._factory: ConnectionPool = ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            dsn,
            decode_responses=False,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_keepalive=True,
        )
        self._dsn = dsn
        self._response_timeout = response_timeout
        self._admit = admit
        self._name = name
        self._redirects = redirects
        self._refused: tuple[LogUnavailable, float] | None = None
        self._connection: Connection | None = None
        self._queued: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_progress = 0.0
        self._closed = False

    @property
    def clustered(self) -> bool:
        return False

    @property
    def dsns(self) -> list[str]:
        return [self._dsn]

    @property
    def name(self) -> str:
        """What errors call the server."""
        return self._name

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address_of(self._dsn)

    async def nodes(self) -> list[Client]:
        return [self]

    async def near(self, key: str) -> Client:
        return self

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """See Client.send."""
        # Packed here, so that a command that cannot be packed is its caller's error and nobody else's:
        # whatever is queued gets a reply, and replies are matched by their order.
        # hiredis packs in C what redis-py's asyncio connection packs in Python: half of an append's time.
        packed = _pack(command)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._closed:
            future.set_exception(LogUnavailable("the client is closed"))
            return future
        if len(self._queued) + len(self._in_flight) >= MAX_WAITING:
            future.set_exception(LogUnavailable("too many commands wait for Redis"))
            return future
        self._queued.append((packed, future))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        return future

    async def aclose(self) -> None:
        """Close the connection; what is under way fails."""
        self._closed = True
        closed = "the client was closed"
        self._refuse_queued(LogUnavailable(closed))
        await self._drop(LogUnavailable(closed, outcome_unknown=True))
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)

    async def retire(self, patience_seconds: float) -> None:
        """Close the connection once nothing is under way."""
        under_way = [*self._in_flight, *(future for _, future in self._queued)]
        try:
            if under_way:
                await asyncio.wait(under_way, timeout=patience_seconds)
        finally:
            await self.aclose()

    async def _flush(self) -> None:
        try:
            while self._queued:
                try:
                    connection = await self._connected()
                except LogUnavailable as refused:
                    await self._drop(refused)
                    continue
                except CONNECTION_FAILURES as error:
                    await self._drop(self._unreachable(error))
                    continue
                try:
                    await self._write_queued(connection)
                except CONNECTION_FAILURES as error:
                    await self._drop(self._lost(error))
        finally:
            self._flushing = None

    async def _write_queued(self, connection: Connection) -> None:
        # A caller that has given up is not sent for; its command never was on the wire.
        batch = [(packed, future) for packed, future in self._queued if not future.done()]
        self._queued.clear()
        if not self._in_flight:
            self._last_progress = asyncio.get_running_loop().time()
        self._in_flight.extend(future for _, future in batch)
        await connection.send_packed_command(b"".join([packed for packed, _ in batch]), check_health=False)

    async def _connected(self) -> Connection:
        if self._connection is not None and self._connection.is_connected:
            return self._connection
        self._pass_on_refusal()
        connection = cast(Connection, self._factory.make_connection())
        try:
            # The kernel of a frozen server still accepts; only the greeting's reply never comes.
            async with asyncio.timeout(self._greeting_timeout):
                await connection.connect()
            if self._admit is not None:
                await self._admit(partial(self._ask, connection))
        except BaseException as error:
            if isinstance(error, LogUnavailable):
                self._refused = error, asyncio.get_running_loop().time() + REFUSED_SECONDS
            _abort(connection)
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._reading = asyncio.create_task(self._read(connection))
        return connection

    @property
    def _greeting_timeout(self) -> float:
        return min(CONNECT_TIMEOUT_SECONDS, self._response_timeout)

    def _pass_on_refusal(self) -> None:
        refused, self._refused = self._refused, None
        if refused is not None and asyncio.get_running_loop().time() < refused[1]:
            self._refused = refused
            raise LogUnavailable(str(refused[0]), refused[0].retry_after) from refused[0].__cause__

    async def _ask(self, connection: Connection, *commands: Command) -> list[Any]:
        async with asyncio.timeout(self._greeting_timeout):
            await connection.send_packed_command(b"".join(map(_pack, commands)), check_health=False)
            return [await connection.read_response(disable_decoding=True) for _ in commands]

    async def _read(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        watch = loop.create_task(self._watch(connection))
        try:
            while True:
                try:
                    reply = cast(
                        Any,
                        await connection.read_response(disable_decoding=True, disconnect_on_error=False),
                    )
                except (ResponseError, BusyLoadingError) as error:
                    self._settle(None, self._response_error(error))
                    if self._admit is not None and isinstance(error, ReadOnlyError):
                        # It is a replica now: what it holds may be replaced under this connection.
                        raise RedisConnectionError("the server was demoted") from error
                else:
                    self._settle(reply, None)
                self._last_progress = loop.time()
        except (RedisError, OSError, IndexError) as error:
            self._reading = None
            await self._drop(self._lost(error))
        finally:
            watch.cancel()

    def _settle(self, reply: Any, failure: Exception | None) -> None:
        future = self._in_flight.popleft()
        if future.done():  # the caller was cancelled; the reply is nobody's
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(reply)

    async def _watch(self, connection: Connection) -> None:
        """Give a connection up on which a reply is long due."""
        loop = asyncio.get_running_loop()
        left = self._response_timeout
        while True:
            # No longer than what is left of it: who waits for the reply waits for the end of this, too.
            await asyncio.sleep(min(max(left, _SHORTEST_WAIT_SECONDS), self._response_timeout / 4))
            silent = loop.time() - self._last_progress if self._in_flight else 0.0
            left = self._response_timeout - silent
            if left < 0:
                log.warning("redis_silent", seconds=self._response_timeout)
                _abort(connection)
                return

    async def _drop(self, error: LogUnavailable) -> None:
        """Fail what is under way and forget the connection.

        What is queued was never sent: it fails only with an error that is not about what was sent.
        """
        connection, self._connection = self._connection, None
        reading, self._reading = self._reading, None
        in_flight = [*self._in_flight]
        self._in_flight.clear()
        if not error.outcome_unknown:
            self._refuse_queued(error)
        _fail_all(in_flight, error)
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if connection is not None:
            _abort(connection)
            await connection.disconnect(nowait=True)

    def _refuse_queued(self, error: LogUnavailable) -> None:
        queued = [future for _, future in self._queued]
        self._queued.clear()
        _fail_all(queued, error)

    def _response_error(self, error: RedisError) -> Exception:
        if isinstance(error, OutOfMemoryError) or str(error).startswith(("OOM", "MISCONF", "NOREPLICAS")):
            return LogRefusesWrites(f"{self._name} refuses writes: {error}", retry_after=5.0)
        if isinstance(error, _NOT_READY) or str(error).startswith(("BUSY ", "UNBLOCKED")):
            return LogUnavailable(f"{self._name} is not ready: {error}")
        if isinstance(error, AskError) and not self._redirects:
            return LogUnavailable(A_CLUSTER)
        return error

    def _unreachable(self, error: BaseException) -> LogUnavailable:
        if isinstance(error, AuthenticationError):
            return LogUnavailable(f"{self._name} refuses the password it was given", retry_after=5.0)
        return LogUnavailable(f"{self._name} cannot be reached ({type(error).__name__})")

    def _lost(self, error: BaseException) -> LogUnavailable:
        return LogUnavailable(
            f"the connection to {self._name} was lost ({type(error).__name__})", outcome_unknown=True
        )


def _fail_all(futures: Iterable[asyncio.Future[Any]], error: LogUnavailable) -> None:
    for future in futures:
        if not future.done():  # a caller that was cancelled
            future.set_exception(error)


def _abort(connection: Connection) -> None:
    """Cut a connection off. Closing it would first send what is still to be sent, and a frozen server
    never takes that."""
    writer = connection._writer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if writer is not None:
        writer.transport.abort()

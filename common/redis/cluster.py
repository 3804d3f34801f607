"""A Redis cluster behind the interface of one client: a `RedisClient` for each primary, and a map of slots.

A command goes to the primary that has its first key. Where that says MOVED or ASK, it has done nothing: the
command goes once more, to where it was told. Nothing else is repeated: whether it may be, the caller knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog
from redis.exceptions import AskError, MovedError, ResponseError

from common.domain.errors import LogRefusesWrites, LogUnavailable, UnsafeConfiguration
from common.redis.client import RedisClient
from common.redis.commands import Admit, Argument, Client, Command, seen
from common.redis.info import NO_CLUSTER
from common.redis.routing import SLOTS, slot_of, slot_of_key
from common.redis.topology import NOTHING, Address, Topology, address_of, read_topology

MAP_SECONDS: Final = 1.0
"""How long a node may take to tell its map, until the next is asked."""
SUSPICION_SECONDS: Final = 0.5
"""How often at most the map is read anew because a primary does not answer: another may have its slots."""
REFUSED_SECONDS: Final = 0.1
"""How long nobody is asked for the map after nobody had one: the callers may be many."""
RETIREMENT_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class ClusterClient(Client):
    """A client of all primaries; `dsn` names any node. Other parameters as of `RedisClient`.

    A primary whose slots changed, or that has said MOVED, is connected to anew: what `admit` found out was
    about the slots that it had.
    """

    def __init__(self, dsn: str, *, response_timeout: float = 5.0, admit: Admit | None = None) -> None:
        self._dsn = dsn
        self._seed = address_of(dsn)
        self._response_timeout = response_timeout
        self._admit = admit
        self._topology: Topology = NOTHING
        self._clients: dict[Address, RedisClient] = {}
        self._reading: asyncio.Task[None] | None = None
        self._read_at = -1e9
        self._refused: tuple[LogUnavailable, float] | None = None
        self._suspect_from = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def clustered(self) -> bool:
        return True

    @property
    def dsns(self) -> list[str]:
        return [address.within(self._dsn) for address in self._topology.primaries] or [self._dsn]

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """See Client.send. Raises NoRoute."""
        slot = slot_of(command)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        owner = self._topology.owners[slot]
        if self._closed:
            answer.set_exception(LogUnavailable("the client is closed"))
        elif owner is None:
            self._start(self._find_and_send(slot, command, answer), answer)
        else:
            self._pass_on(self._client(owner), slot, command, answer)
        return answer

    async def nodes(self) -> Sequence[Client]:
        # No MOVED tells of a primary that is gone to those who ask without a key.
        if asyncio.get_running_loop().time() - self._read_at > MAP_SECONDS:
            await self._read_map()
        return [self._client(address) for address in self._topology.primaries]

    async def near(self, key: str) -> Client:
        return self._client(await self._owner(slot_of_key(key)))

    async def aclose(self) -> None:
        self._closed = True
        tasks = [*self._background, *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(client.aclose() for client in clients.values()))

    def _client(self, address: Address) -> RedisClient:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = RedisClient(
                address.within(self._dsn),
                response_timeout=self._response_timeout,
                admit=self._admit,
                name=f"Redis at {address}",
                redirects=True,
            )
        return client

    def _pass_on(self, client: RedisClient, slot: int, command: Command, answer: asyncio.Future[Any]) -> None:
        sent = client.send(*command)
        sent.add_done_callback(partial(self._answered, client, slot, command, answer))
        # A caller that has given up is not sent for.
        answer.add_done_callback(lambda given: sent.cancel() if given.cancelled() else None)

    def _answered(
        self,
        client: RedisClient,
        slot: int,
        command: Command,
        answer: asyncio.Future[Any],
        sent: asyncio.Future[Any],
    ) -> None:
        failure = None if sent.cancelled() else sent.exception()
        if answer.done():
            return
        if sent.cancelled():
            answer.cancel()
        elif failure is None:
            answer.set_result(sent.result())
        elif isinstance(failure, AskError):
            self._start(self._redirect(failure, client, slot, command, answer), answer)
        else:
            if isinstance(failure, LogUnavailable) and not isinstance(failure, LogRefusesWrites):
                self._suspect()
            answer.set_exception(failure)

    async def _find_and_send(self, slot: int, command: Command, answer: asyncio.Future[Any]) -> None:
        try:
            owner = await self._owner(slot)
        except LogUnavailable as error:
            _fail(answer, error)
        else:
            if not answer.done():
                self._pass_on(self._client(owner), slot, command, answer)

    async def _redirect(
        self, said: AskError, by: RedisClient, slot: int, command: Command, answer: asyncio.Future[Any]
    ) -> None:
        """Send a command once more that has done nothing so far."""
        try:
            reply = await self._redirected(said, by, slot, command)
        except AskError:
            _fail(answer, LogUnavailable("Redis is moving the data of some users to another node"))
        except Exception as error:
            _fail(answer, error)
        else:
            if not answer.done():
                answer.set_result(reply)

    async def _redirected(self, said: AskError, by: RedisClient, slot: int, command: Command) -> Any:
        if not isinstance(said, MovedError):
            # The slot is on its way, and this key is there already. Both leave in one write.
            there = self._client(_told(said, by.address))
            there.send("ASKING").add_done_callback(seen)
            return await there.send(*command)
        self._renew(by)
        await self._read_map(first=by.address)
        if self._topology.owners[slot] == by.address:
            # That reading had begun before the slot moved.
            await self._read_map(first=by.address)
        return await self._client(await self._owner(slot)).send(*command)

    async def _owner(self, slot: int) -> Address:
        owner = self._topology.owners[slot]
        if owner is None:
            await self._read_map()
            owner = self._topology.owners[slot]
        if owner is None:
            self._refused = LogUnavailable("no node of the Redis cluster serves these users' data"), _soon()
            raise self._refused[0]
        return owner

    def _suspect(self) -> None:
        """A primary does not answer: look whether its slots are elsewhere by now."""
        now = asyncio.get_running_loop().time()
        if now >= self._suspect_from and not self._closed:
            self._suspect_from = now + SUSPICION_SECONDS
            self._start(self._read_map_anyhow())

    async def _read_map_anyhow(self) -> None:
        try:
            await self._read_map()
        except LogUnavailable as error:
            log.debug("cluster_map_not_read", reason=str(error))

    async def _read_map(self, first: Address | None = None) -> None:
        """Have the map read, by one for all who want it. Raises LogUnavailable."""
        refused, self._refused = self._refused, None
        if refused is not None and asyncio.get_running_loop().time() < refused[1]:
            self._refused = refused
            raise LogUnavailable(str(refused[0])) from refused[0].__cause__
        if self._closed:
            raise LogUnavailable("the client is closed")
        if self._reading is None or self._reading.done():
            known = [first, self._seed, *self._topology.primaries]
            asked = list(dict.fromkeys(address for address in known if address is not None))
            self._reading = asyncio.create_task(self._read_from(asked))
            self._reading.add_done_callback(seen)
        reading = self._reading
        await asyncio.wait([reading])
        if reading.cancelled():
            raise LogUnavailable("the client was closed")
        reading.result()

    async def _read_from(self, addresses: Sequence[Address]) -> None:
        found = NOTHING
        for address in addresses:
            topology = await self._ask_for_map(address)
            if topology is not None and topology.served > found.served:
                found = topology
            # One that has lost sight of others tells of a part: somebody else may know more.
            if found.served == SLOTS:
                break
        if found.ranges:
            self._install(found)
            return
        error = LogUnavailable("no node of the Redis cluster can be reached")
        self._refused = error, _soon()
        raise error

    async def _ask_for_map(self, address: Address) -> Topology | None:
        client = RedisClient(address.within(self._dsn), response_timeout=MAP_SECONDS)
        try:
            return read_topology(await client.call("CLUSTER", "SLOTS"), address)
        except LogUnavailable as error:
            log.debug("cluster_node_silent", node=str(address), reason=str(error))
            return None
        except ResponseError as error:
            if "cluster support disabled" in str(error):
                raise LogUnavailable(NO_CLUSTER) from UnsafeConfiguration(NO_CLUSTER)
            raise LogUnavailable(f"Redis at {address} does not tell CLUSTER SLOTS: {error}") from error
        finally:
            await client.aclose()

    def _install(self, topology: Topology) -> None:
        before, self._topology = self._topology, topology
        self._read_at = asyncio.get_running_loop().time()
        for address, client in list(self._clients.items()):
            if before.ranges.get(address) != topology.ranges.get(address):
                self._renew(client)
        if before.ranges and before.ranges != topology.ranges:
            primaries = [str(address) for address in topology.primaries]
            log.info("cluster_changed", primaries=primaries)

    def _renew(self, client: RedisClient) -> None:
        """Have the next command to a node go over a new connection; what is under way ends on the old one."""
        if self._clients.get(client.address) is client:
            del self._clients[client.address]
            self._start(client.retire(RETIREMENT_SECONDS))

    def _start(self, work: Coroutine[Any, Any, None], answer: asyncio.Future[Any] | None = None) -> None:
        """Do `work` beside all else; where it is ended before it could give its `answer`, that fails."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(partial(self._ended, answer))

    def _ended(self, answer: asyncio.Future[Any] | None, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if answer is not None and task.cancelled():
            _fail(answer, LogUnavailable("the client was closed", outcome_unknown=True))


def _told(said: AskError, by: Address) -> Address:
    """Where ASK points to. A node that does not know its own name means the one that was asked."""
    host, port = str(said).split(" ")[1].rsplit(":", 1)
    return Address(host or by.host, int(port))


def _soon() -> float:
    return asyncio.get_running_loop().time() + REFUSED_SECONDS


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

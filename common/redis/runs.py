"""The runs of a Redis server: which one this is, whether it was inspected, and what is stale in it.

A connection never outlives the server's process, and its `run_id` is new with every start. So a connection
to a run that was inspected sees no data that are older than what was inspected.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from common.domain.errors import LogRefusesWrites, LogUnavailable, UnsafeConfiguration
from common.domain.ids import ConversationId, Position, UserId
from common.redis.commands import Ask, Client, Command
from common.redis.functions import Functions
from common.redis.group import GROUP
from common.redis.info import parse_info, wrong_kind
from common.redis.keys import Keys, UserKey
from common.redis.routing import slot_of_key
from common.redis.topology import served_slots

PAGE: Final = 500
LEASE_MS: Final = 5_000
_FIELD: Final = "run_id"


@dataclass(frozen=True, slots=True)
class Served:
    """A run of a server, and the partitions that it serves: of a cluster's node its own, else all."""

    run: str
    partitions: tuple[int, ...]


async def run_of(ask: Ask) -> str:
    """The server's run."""
    [facts] = await ask(("INFO", "server"))
    return parse_info(facts)["run_id"]


async def served_by(ask: Ask, keys: Keys, *, clustered: bool) -> Served:
    """What the server serves by its own word. Raises LogUnavailable where that is nothing, and, from
    UnsafeConfiguration, where it is not of the kind that REDIS_CLUSTER says."""
    [facts] = await ask(("INFO", "server"))
    server = parse_info(facts)
    mistaken = wrong_kind(server, clustered=clustered)
    if mistaken:
        raise LogUnavailable(mistaken) from UnsafeConfiguration(mistaken)
    if not clustered:
        return Served(server["run_id"], tuple(range(keys.partitions)))
    node, slots = await ask(("CLUSTER", "MYID"), ("CLUSTER", "SLOTS"))
    ranges = served_slots(slots, node)
    if not ranges:
        # It may be promoted: then it is connected to anew, and asked again.
        raise LogUnavailable("this node of the Redis cluster is no primary, or has nothing")
    slot_by_partition = {p: slot_of_key(keys.log(p)) for p in range(keys.partitions)}
    ours = (p for p, slot in slot_by_partition.items() if any(a <= slot <= b for a, b in ranges))
    return Served(server["run_id"], tuple(ours))


async def is_inspected(ask: Ask, keys: Keys, served: Served) -> bool:
    """Whether every partition that it serves says that this run was inspected."""
    return await _stamps(ask, keys, served) <= {served.run.encode()}


async def is_overdue(ask: Ask, keys: Keys, served: Served) -> bool:
    """Whether an earlier run of the server was inspected, and this one not yet: it may be older than its
    record, and what is written now would hide that."""
    return bool(await _stamps(ask, keys, served) - {None, served.run.encode()})


async def _stamps(ask: Ask, keys: Keys, served: Served) -> set[object]:
    """The runs that its partitions say were inspected; None: none yet."""
    commands: list[Command] = [("HGET", keys.log(partition), _FIELD) for partition in served.partitions]
    return set(await ask(*commands)) if commands else set()


async def count_rollbacks(client: Client, keys: Keys) -> int:
    """How often any partition came back older, as far as this Redis knows."""
    counts = await client.call_together(
        *(("HGET", keys.log(partition), "rollbacks") for partition in range(keys.partitions))
    )
    return sum(int(count) for count in counts if count is not None)


class Runs:
    """What an inspector does to one server, by its `served` run and partitions. Raises LogUnavailable."""

    def __init__(self, functions: Functions, keys: Keys, served: Served, *, ttl_ms: int) -> None:
        self.served = served
        self._functions = functions
        self._client = functions.client
        self._keys = keys
        self._ttl_ms = ttl_ms
        self._token = uuid.uuid4().hex
        self._lease = keys.inspection(served.partitions[0])

    async def take_lease(self) -> bool:
        """Whether nobody else inspects. It only spares work: two at once do no harm."""
        lease = ("SET", self._lease, self._token, "NX", "PX", LEASE_MS)
        try:
            return await self._client.call(*lease) is not None
        except LogRefusesWrites:
            return True

    async def renew_lease(self) -> None:
        """Keep others waiting."""
        await self._client.call("PEXPIRE", self._lease, LEASE_MS)

    async def drop_lease(self) -> None:
        """Let others go on."""
        if await self._client.call("GET", self._lease) == self._token.encode():
            await self._client.call("DEL", self._lease)

    async def last_position(self, partition: int) -> Position:
        """The last position that the log gave out, whether or not the entry is there; `0-0` before any."""
        last: bytes = await self._functions.call("last_position", [self._keys.events(partition)])
        return Position(last.decode())

    async def users_keys(self) -> AsyncIterator[list[tuple[str, UserKey]]]:
        """Every key of every user on this server, page by page; some may come twice."""
        cursor = b"0"
        node = await self._client.near(self._lease)
        while True:
            cursor, found = await node.call("SCAN", cursor, "MATCH", self._keys.every_key(), "COUNT", PAGE)
            names = [name.decode() for name in found]
            yield [(name, parsed) for name in names if (parsed := self._keys.parse(name)) is not None]
            if cursor == b"0":
                return

    async def revoke(self, moment: str) -> bool:
        """Have the run inspected anew before any further connection uses it, for the return that began at
        `moment`; False where the caches were dropped for it already."""
        logs = [self._keys.log(partition) for partition in self.served.partitions]
        return all([await self._functions.call("revoke_run", [log], moment) for log in logs])

    async def returned(self, moment: str) -> None:
        """The caches are dropped for that return; to be called before the run is stamped."""
        for partition in self.served.partitions:
            await self._functions.call("returned", [self._keys.log(partition)], moment)

    async def drop(self, partition: int, names: Iterable[str]) -> int | None:
        """Drop cached keys of one partition; how many there were. None, and not all are dropped, where this
        run was inspected meanwhile, or is over."""
        dropped = 0
        log = self._keys.log(partition)
        for page in _pages(list(names)):
            found: int = await self._functions.call("drop_stale", [log, *page], self.served.run)
            if found < 0:
                return None
            dropped += found
        return dropped

    async def forget(self, user: UserId, conversation: ConversationId) -> bool:
        """Drop what is cached of a conversation, and its user's list, if anything of it is pending. False
        where that is not so, another server has it, or this run was inspected meanwhile or is over."""
        keys = self._keys.conversation(user, conversation)
        if self._keys.partition(user) not in self.served.partitions:
            return False
        if not await self._client.call("EXISTS", keys.pending):
            return False
        names = (keys.header, keys.messages, keys.rebuild)
        lists = (keys.user_conversations, keys.user_summaries, keys.user_rebuild)
        return await self.drop(self._keys.partition(user), (*names, *lists)) is not None

    async def prune_pending(self, user: UserId, conversation: ConversationId) -> bool:
        """Take positions off a pending list that the log does not have; whether any are left."""
        keys = self._keys.conversation(user, conversation)
        names = [keys.events, keys.header, keys.pending, keys.user_pending]
        return bool(await self._functions.call("prune_pending", names, conversation, self._ttl_ms))

    async def inspected(self) -> bool:
        """Whether somebody else has inspected this run meanwhile."""
        return await is_inspected(self._client.call_together, self._keys, self.served)

    async def admit(self, partition: int, committed: Position) -> Position | None:
        """Stamp the run as inspected. Where the log ended, if before `committed`: it goes on after that.

        Raises LogUnavailable where the server is in another run by now.
        """
        names = [self._keys.log(partition), self._keys.events(partition)]
        ended: bytes | None = await self._functions.call(
            "admit_run", names, self.served.run, committed, GROUP
        )
        if ended is None:
            raise LogUnavailable("Redis was restarted again while it was inspected")
        return Position(ended.decode()) if ended else None


def _pages(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[i : i + PAGE] for i in range(0, len(names), PAGE))

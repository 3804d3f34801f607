"""Every key name of Turnlog in Redis. Nothing else builds one.

`{7}` is the hash tag: all keys of one partition share a slot of a Redis Cluster. A conversation's keys
hold its owner, so another user's conversation is not forbidden but absent.

| key | type | lifetime |
|---|---|---|
| `chat:{7}:events` | stream: the log | trimmed below what is committed |
| `chat:{7}:dead` | stream: parked events | until an operator drops them |
| `chat:{7}:void` | sorted set: positions whose dead letter was requeued or dropped | trimmed with the log |
| `chat:{7}:misses` | stream: rebuild requests | trimmed freely |
| `chat:{7}:log` | hash: partitions, inspected run, roll-backs, bounds, last large event | for ever |
| `chat:{7}:volume` | hash: time → bytes that came in | what is not committed |
| `chat:{7}:-` | never there: see `guard_beside` | |
| `chat:{0}:inspection` | string: somebody inspects this server, by its first partition | its lease |
| `chat:{0}:heartbeats` | sorted set: persisters and cache builders, by when they were last heard of | 1 h |
| `chat:{0}:breaker` | string: a persister that has stopped parking, and why | a minute, renewed |
| `chat:{0}:parking` | string: an operator's permit to park all the same | as given |
| `chat:{0}:stats:<hour>` | hash: cache hits and misses of all gateways | 25 h |
| `chat:{7}:<user>:<conversation>` | hash: header; `#<message id>` → number … | no TTL while pending |
| `chat:{7}:<user>:<conversation>:pending` | list: positions not yet committed | emptied by the persister |
| `chat:{7}:<user>:<conversation>:messages` | list: newest messages, oldest first | cache TTL |
| `chat:{7}:<user>:<conversation>:rebuild` | list: a rebuild's token, then what came since | its lease |
| `chat:{7}:<user>:conversations` | sorted set: conversations, and `-` at the floor | cache TTL |
| `chat:{7}:<user>:summaries` | hash: conversation → its row in the list | with the sorted set |
| `chat:{7}:<user>:pending` | set: conversations with anything pending | emptied by the persister |
| `chat:{7}:<user>:rebuild` | list: a rebuild's token, then conversations changed since | its lease |
| `chat:{7}:<user>:idem:<digest>` | string: the first answer | 24 h |
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

from common.domain.ids import CANONICAL_UUID, ConversationId, UserId

_CONVERSATION = CANONICAL_UUID.strip("^$")
_OF_A_USER = re.compile(
    rf":\{{(?P<partition>\d+)\}}:(?P<user>[^:]+)(?::(?P<conversation>{_CONVERSATION}))?(?::(?P<what>[a-z]+))?"
)
_CACHED = frozenset({None, "messages", "rebuild", "conversations", "summaries"})


class ConversationKeys(NamedTuple):
    """The keys that a change to one conversation touches, in the order of every function's KEYS."""

    events: str
    header: str
    pending: str
    messages: str
    rebuild: str
    user_conversations: str
    user_summaries: str
    user_pending: str
    user_rebuild: str


class UserKeys(NamedTuple):
    """The keys of a user's list of conversations. `base` + `:` + id is a conversation's header."""

    base: str
    conversations: str
    summaries: str
    pending: str
    rebuild: str


class UserKey(NamedTuple):
    """What the name of a key says. `cached`: PostgreSQL and what is pending make it anew."""

    partition: int
    user: UserId
    conversation: ConversationId | None
    cached: bool
    pending: bool


def guard_beside(key: str) -> str:
    """A key in the slot of one of ours that never exists: what names it is refused while the slot moves."""
    return key[: key.index("}") + 1] + ":-"


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix, for a log of `partitions` partitions."""

    prefix: str
    partitions: int

    def partition(self, user: UserId) -> int:
        """The partition of everything that is `user`'s: the same in every process and for ever."""
        digest = hashlib.blake2b(user.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.partitions

    def events(self, partition: int) -> str:
        return f"{self.prefix}:{{{partition}}}:events"

    def dead(self, partition: int) -> str:
        return f"{self.prefix}:{{{partition}}}:dead"

    def void(self, partition: int) -> str:
        """Positions by time; Lua finds it by the name of `events`."""
        return f"{self.prefix}:{{{partition}}}:void"

    def misses(self, partition: int) -> str:
        return f"{self.prefix}:{{{partition}}}:misses"

    def log(self, partition: int) -> str:
        return f"{self.prefix}:{{{partition}}}:log"

    def heartbeats(self) -> str:
        """Where persisters and cache builders say that they live."""
        return f"{self.prefix}:{{0}}:heartbeats"

    def breaker(self) -> str:
        """What a persister with an open breaker says of itself."""
        return f"{self.prefix}:{{0}}:breaker"

    def parking_permit(self) -> str:
        """An operator's word that breakers may park."""
        return f"{self.prefix}:{{0}}:parking"

    def volume(self, partition: int) -> str:
        """Lua finds it by the name of `events`, as it does `log`."""
        return f"{self.prefix}:{{{partition}}}:volume"

    def stats(self, hour: int) -> str:
        """What all gateways counted in one hour since 1970."""
        return f"{self.prefix}:{{0}}:stats:{hour}"

    def answers(self, reader: str) -> str:
        """The pub/sub channel on which cache builders answer the gateway `reader`."""
        return f"{self.prefix}:answers:{reader}"

    def user(self, user: UserId) -> UserKeys:
        base = self._user_base(user)
        return UserKeys(
            base, f"{base}:conversations", f"{base}:summaries", f"{base}:pending", f"{base}:rebuild"
        )

    def conversation(self, user: UserId, conversation: ConversationId) -> ConversationKeys:
        partition = self.partition(user)
        base = self._user_base(user)
        header = f"{base}:{conversation}"
        return ConversationKeys(
            f"{self.prefix}:{{{partition}}}:events",
            header,
            f"{header}:pending",
            f"{header}:messages",
            f"{header}:rebuild",
            f"{base}:conversations",
            f"{base}:summaries",
            f"{base}:pending",
            f"{base}:rebuild",
        )

    def messages(self, user: UserId, conversation: ConversationId) -> str:
        return f"{self._user_base(user)}:{conversation}:messages"

    def idempotency(self, user: UserId, key: str) -> str:
        """Hashed, so that a client's text can neither be long nor look like another key."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return f"{self._user_base(user)}:idem:{digest}"

    def inspection(self, partition: int) -> str:
        """Held by whoever inspects a Redis that came back older, at the first partition that it serves."""
        return f"{self.prefix}:{{{partition}}}:inspection"

    def every_key(self) -> str:
        """A pattern for SCAN."""
        return re.sub(r"([*?\[\]\\])", r"\\\1", self.prefix) + ":{*"

    def parse(self, key: str) -> UserKey | None:
        """What a key is, if it is a user's and not an answer kept for an idempotency key."""
        found = _OF_A_USER.fullmatch(key.removeprefix(self.prefix))
        if found is None or (found["what"] is None and found["conversation"] is None):
            return None
        return UserKey(
            int(found["partition"]),
            UserId(unquote(found["user"])),
            ConversationId(found["conversation"]) if found["conversation"] else None,
            cached=found["what"] in _CACHED,
            pending=found["what"] == "pending",
        )

    def _user_base(self, user: UserId) -> str:
        # Quoted, so that no user id can hold the `:` or the braces that give keys their shape.
        return f"{self.prefix}:{{{self.partition(user)}}}:{quote(user, safe='@')}"

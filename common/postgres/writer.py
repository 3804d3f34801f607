"""Writes a batch of events in one transaction; see `queries/write.sql` for why it is safe.

Whatever is delivered again, late, or to two writers at once: the rows are those of the events applied
once and in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import asyncpg

from common.domain.events import ConversationEvent, MessagesAppended
from common.domain.ids import ConversationId, UserId
from common.domain.messages import BIGINT_MAX
from common.postgres.changes import (
    Changes,
    ConversationChange,
    ConversationKey,
    Recorded,
    fold,
)
from common.postgres.outages import outages
from common.postgres.places import Claim, Place, Places, first_claims, place_of
from common.postgres.pool import ACQUIRE_TIMEOUT_SECONDS, Connection, Pool
from common.postgres.queries import statement
from common.postgres.rows import MessageRow, body_preview

_MESSAGE_COLUMNS: Final = (
    *("user_id", "conversation_id", "sequence_number", "id", "role", "created_at", "tokens_used"),
    *("latency_ms", "model", "payload", "version", "edited", "search"),
)
_EDIT_COLUMNS: Final = (
    *("user_id", "conversation_id", "id", "role", "created_at", "tokens_used", "latency_ms", "model"),
    *("payload", "version", "search"),
)
_STATE_COLUMNS: Final = (
    *("user_id", "id", "title", "model", "metadata", "created_at", "created_at_text", "state_version"),
    *("last_modified_ms", "next_sequence_number", "version", "epoch", "deleted_at"),
)
_PREVIEW_PAGE: Final = 20


class BatchWriter:
    """The one writer of conversations, messages and query logs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, events: Sequence[Recorded]) -> frozenset[ConversationKey]:
        """Commit all of `events`, or none.

        Returns the conversations in which a message stands at another number than its event says: what
        Redis shows of them is not so.
        Raises StoreUnavailable where the same call may pass later. Any other error means that at
        least one of the events can never be stored (Unstorable, Collision, what PostgreSQL says).
        """
        with outages():
            async with (
                self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection,
                connection.transaction(isolation="read_committed"),
            ):
                return await apply(connection, events)

    async def reserve(self, event: ConversationEvent) -> bool:
        """See that the numbers of an event that is given up are never given again.

        False where the record has no such conversation. Raises as `write` does.
        """
        next_number = 0
        if isinstance(event, MessagesAppended):
            next_number = event.first_sequence_number + len(event.bodies)
        with outages():
            found = await self._pool.fetchval(
                statement("reserve_numbers"),
                *(event.user_id, event.conversation_id, next_number, event.version),
            )
        return found is not None


async def apply(connection: Connection, events: Iterable[Recorded]) -> frozenset[ConversationKey]:
    """Write `events` inside the caller's transaction, which must be READ COMMITTED."""
    changes = fold(events)
    if changes.users:
        await _run(connection, "add_users", [changes.users])
    renumbered: frozenset[ConversationKey] = frozenset()
    if changes.conversations:
        renumbered = await _write_conversations(connection, changes.conversations)
    if changes.logs:
        columns = ("user_id", "log_id", "conversation_id", "at", "tokens_used", "latency_ms", "payload")
        await _run(connection, "add_query_logs", _arrays(changes.logs, *columns))
    await _advance_positions(connection, changes)
    return renumbered


@dataclass(slots=True)
class _Tally:
    """What became of one conversation in this transaction."""

    gone: bool
    added: int = 0
    removed: int = 0
    preview_known: bool = False
    preview: str | None = None
    preview_sequence: int | None = None

    def added_row(self, row: MessageRow) -> None:
        """Count a row that was added. They come in ascending order: the last word is the preview."""
        self.added += 1
        if row.preview is not None:
            self.preview, self.preview_sequence = row.preview, row.sequence_number


_Tallies = Mapping[ConversationKey, _Tally]


async def _write_conversations(
    connection: Connection, changes: Sequence[ConversationChange]
) -> frozenset[ConversationKey]:
    await _run(
        connection,
        "add_conversations",
        _arrays(changes, "user_id", "id", "created_at", "created_at_text"),
    )
    locked = await _run(connection, "lock_conversations", _arrays(changes, "user_id", "id"))
    deleting = {change.key for change in changes if change.deleted_at_ms is not None}
    tallies = {
        (row["user_id"], row["id"]): _Tally(row["gone"] or (row["user_id"], row["id"]) in deleting)
        for row in locked
    }
    living = [change for change in changes if not tallies[change.key].gone]
    places = Places({(row["user_id"], row["id"]): row["next_sequence_number"] for row in locked})
    await places.find_removed(connection, living)
    await _add_tombstones(connection, living, places)
    await _add_messages(connection, living, tallies, places)
    await _remember_removed(connection, living, places)
    await _edit_messages(connection, living)
    await _remove_messages(connection, changes, tallies, places)
    await _find_previews(connection, living, tallies)
    await _run(
        connection,
        "update_conversations",
        [
            *_arrays(changes, *_STATE_COLUMNS),
            *_arrays(
                [tallies[change.key] for change in changes],
                *("gone", "added", "removed", "preview_known", "preview", "preview_sequence"),
            ),
        ],
    )
    return frozenset(places.moved)


async def _add_tombstones(
    connection: Connection, living: Sequence[ConversationChange], places: Places
) -> None:
    rows: list[tuple[object, ...]] = [
        (*change.key, version, numbers.start, numbers.stop - 1, None)
        for change in living
        for version, numbers in sorted(change.truncated.items())
    ]
    for change in living:
        for message_id, removed in sorted(change.removed.items()):
            number = places.of_removed[change.key, message_id]
            # Version 0 is a removal told again (retelling.py): the tombstone that took it is told for itself.
            if removed.version:
                rows.append((*change.key, removed.version, number, number, message_id))
    if rows:
        await _run(connection, "add_tombstones", zip(*rows, strict=True))


async def _remember_removed(
    connection: Connection, living: Sequence[ConversationChange], places: Places
) -> None:
    """Remember the ids of messages that are gone before they came; `remove_messages` does it for the rest."""
    rows = {
        (*change.key, message_id): places.of_removed[change.key, message_id]
        for change in living
        for message_id in change.removed
    }
    rows |= places.late
    if rows:
        columns = zip(*((*key, number) for key, number in sorted(rows.items())), strict=True)
        await _run(connection, "add_removed", columns)


async def _add_messages(
    connection: Connection,
    living: Sequence[ConversationChange],
    tallies: _Tallies,
    places: Places,
) -> None:
    rows, doubtful = first_claims(living)
    added = await _insert(connection, rows)
    doubtful += [message for message in rows if place_of(message.row) not in added]
    renumbered = await places.find(connection, doubtful)
    added |= await _insert(connection, renumbered)
    for message in (*rows, *renumbered):
        if place_of(message.row) in added:
            tallies[message.change.key].added_row(message.row)


async def _insert(connection: Connection, messages: Sequence[Claim]) -> set[Place]:
    """Insert those that are not there and not deleted; where they stand."""
    if not messages:
        return set()
    columns = _arrays([message.row for message in messages], *_MESSAGE_COLUMNS)
    added = await _run(connection, "add_messages", columns)
    return {(row["user_id"], row["conversation_id"], row["sequence_number"]) for row in added}


async def _edit_messages(connection: Connection, living: Sequence[ConversationChange]) -> None:
    rows = [row for change in living for row in change.edited.values()]
    if rows:
        await _run(connection, "edit_messages", _arrays(rows, *_EDIT_COLUMNS))


async def _remove_messages(
    connection: Connection, changes: Sequence[ConversationChange], tallies: _Tallies, places: Places
) -> None:
    deleted = [change.key for change in changes if change.deleted_at_ms is not None]
    ranges = [(*key, 0, BIGINT_MAX, False) for key in deleted]
    for change in changes:
        if not tallies[change.key].gone:
            ranges += [(*change.key, r.start, r.stop - 1, True) for r in change.truncated.values()]
            numbers = [places.of_removed[change.key, message_id] for message_id in change.removed]
            ranges += [(*change.key, number, number, True) for number in numbers]
    if ranges:
        for row in await _run(connection, "remove_messages", zip(*ranges, strict=True)):
            tallies[row["user_id"], row["conversation_id"]].removed = row["removed"]
    if deleted:
        await _run(connection, "remove_tombstones", zip(*deleted, strict=True))
        await _run(connection, "remove_renumbered", zip(*deleted, strict=True))
        await _run(connection, "remove_removed", zip(*deleted, strict=True))


async def _find_previews(
    connection: Connection, living: Sequence[ConversationChange], tallies: _Tallies
) -> None:
    """Read the preview anew where the message that it is of may have been edited or removed."""
    wanted = {c.key: BIGINT_MAX for c in living if c.edited or c.removed or c.truncated}
    for key in wanted:
        tally = tallies[key]
        tally.preview_known, tally.preview, tally.preview_sequence = True, None, None
    while wanted:
        keys = [(*key, below) for key, below in sorted(wanted.items())]
        rows = await _run(connection, "newest_messages", [*zip(*keys, strict=True), _PREVIEW_PAGE])
        wanted = _take_previews(rows, tallies)


def _take_previews(rows: Sequence[asyncpg.Record], tallies: _Tallies) -> dict[ConversationKey, int]:
    """Set the previews that `rows` have; below which number to look on, for those that have none."""
    seen: dict[ConversationKey, list[int]] = {}
    for row in sorted(rows, key=lambda row: -row["sequence_number"]):
        key = UserId(row["user_id"]), ConversationId(row["conversation_id"])
        number = row["sequence_number"]
        seen.setdefault(key, []).append(number)
        tally = tallies[key]
        if tally.preview is None and (preview := body_preview(row["payload"])) is not None:
            tally.preview, tally.preview_sequence = preview, number
    return {
        key: min(numbers)
        for key, numbers in seen.items()
        if tallies[key].preview is None and len(numbers) == _PREVIEW_PAGE
    }


async def _advance_positions(connection: Connection, changes: Changes) -> None:
    if changes.positions:
        rows = [(partition, *place) for partition, place in changes.positions.items()]
        await _run(connection, "advance_positions", zip(*rows, strict=True))


def _arrays(rows: Sequence[Any], *names: str) -> list[list[Any]]:
    """One array for each column, as `unnest` takes them."""
    return [list(map(attrgetter(name), rows)) for name in names]


async def _run(connection: Connection, name: str, arguments: Iterable[Any]) -> list[asyncpg.Record]:
    return await connection.fetch(statement(name), *arguments)

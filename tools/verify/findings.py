"""The kinds of drift, and what a run found. No contents: users, conversations and numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from common.domain.ids import ConversationId, Position, UserId

MAX_EXAMPLES: Final = 5


class Kind(StrEnum):
    """A kind of drift: the value is its name in reports."""

    LIST_MISSING = "list.missing"
    LIST_EXTRA = "list.extra"
    LIST_ORDER = "list.order"
    LIST_BODY = "list.body"
    LIST_DUPLICATE = "list.duplicate"
    LIST_GARBLED = "list.garbled"
    LIST_ORPHAN = "list.orphan"
    HEADER_NEXT_BEHIND = "header.next_behind"
    HEADER_NEXT_AHEAD = "header.next_ahead"
    HEADER_COUNT = "header.message_count"
    HEADER_TITLE = "header.title"
    HEADER_MODEL = "header.model"
    HEADER_METADATA = "header.metadata"
    HEADER_CREATED = "header.created_at"
    HEADER_MODIFIED = "header.last_modified"
    HEADER_PREVIEW = "header.preview"
    HEADER_VERSION = "header.version"
    HEADER_EPOCH = "header.epoch"
    HEADER_DELETED = "header.deleted"
    HEADER_ORPHAN = "header.orphan"
    HEADER_MISSING = "header.missing"
    HEADER_GARBLED = "header.garbled"
    HEADER_NO_TTL = "header.no_ttl"
    HEADER_EXPIRES = "header.expires_while_pending"
    IDS_NUMBER = "ids.number"
    IDS_UNKNOWN = "ids.unknown"
    IDS_MISSING = "ids.missing"
    PENDING_ORPHAN = "pending.orphan"
    PENDING_UNLISTED = "pending.not_in_user_set"
    USER_PENDING_ORPHAN = "user_pending.orphan"
    USER_LIST_MISSING = "user_list.missing"
    USER_LIST_EXTRA = "user_list.extra"
    USER_LIST_SCORE = "user_list.score"
    USER_LIST_SUMMARY = "user_list.summary"
    USER_LIST_FLOOR = "user_list.floor"
    RECORD_COUNT = "record.message_count"
    RECORD_NEXT = "record.next_behind"
    RECORD_PREVIEW = "record.preview"
    RECORD_REMAINS = "record.remains_of_deleted"
    RECORD_BURIED = "record.message_in_tombstone"
    RECORD_GAP = "record.gap"
    LOG_LOST = "log.lost"
    LOG_UNREADABLE = "log.unreadable"
    LOG_UNACKNOWLEDGED = "log.unacknowledged"


MEANINGS: Final[dict[Kind, str]] = {
    Kind.LIST_MISSING: "a cached list lacks a message",
    Kind.LIST_EXTRA: "a cached list shows a message that there is not",
    Kind.LIST_ORDER: "a cached list is out of order",
    Kind.LIST_BODY: "a cached list shows another text",
    Kind.LIST_DUPLICATE: "a cached list shows a message twice",
    Kind.LIST_GARBLED: "an element of a cached list is no message",
    Kind.LIST_ORPHAN: "a cached list of a conversation that there is not",
    Kind.HEADER_NEXT_BEHIND: "the next number was given before",
    Kind.HEADER_NEXT_AHEAD: "numbers were given that the record does not know of",
    Kind.HEADER_COUNT: "another number of messages",
    Kind.HEADER_TITLE: "another title",
    Kind.HEADER_MODEL: "another model",
    Kind.HEADER_METADATA: "other metadata",
    Kind.HEADER_CREATED: "another time of creation",
    Kind.HEADER_MODIFIED: "another time of change",
    Kind.HEADER_PREVIEW: "another preview",
    Kind.HEADER_VERSION: "another version",
    Kind.HEADER_EPOCH: "another epoch",
    Kind.HEADER_DELETED: "deleted in one place and not in the other",
    Kind.HEADER_ORPHAN: "a header without a record, and nothing pending",
    Kind.HEADER_MISSING: "pending events without their header",
    Kind.HEADER_GARBLED: "a header that cannot be read",
    Kind.HEADER_NO_TTL: "a header that stays for ever though nothing is pending",
    Kind.HEADER_EXPIRES: "a header that expires though something is pending",
    Kind.IDS_NUMBER: "a message id stands for another number",
    Kind.IDS_UNKNOWN: "a message id of no message: sent again, it would be dropped",
    Kind.IDS_MISSING: "a message id is not known: sent again, it would be there twice",
    Kind.PENDING_ORPHAN: "a pending position that is settled, or off the log",
    Kind.PENDING_UNLISTED: "pending events that the user's set does not name",
    Kind.USER_PENDING_ORPHAN: "the user's set names a conversation without pending events",
    Kind.USER_LIST_MISSING: "a user's list lacks a conversation",
    Kind.USER_LIST_EXTRA: "a user's list shows a conversation that there is not",
    Kind.USER_LIST_SCORE: "a conversation stands in the wrong place of a user's list",
    Kind.USER_LIST_SUMMARY: "a user's list shows another summary",
    Kind.USER_LIST_FLOOR: "a user's list without its floor",
    Kind.RECORD_COUNT: "PostgreSQL counts other messages than it has",
    Kind.RECORD_NEXT: "PostgreSQL's next number is taken",
    Kind.RECORD_PREVIEW: "PostgreSQL's preview is not of the last message that says something",
    Kind.RECORD_REMAINS: "PostgreSQL still has something of a deleted conversation",
    Kind.RECORD_BURIED: "PostgreSQL has a message that was deleted",
    Kind.RECORD_GAP: "a number without message or tombstone",
    Kind.LOG_LOST: "an event that was settled and is not in PostgreSQL",
    Kind.LOG_UNREADABLE: "a settled entry of the log that is no event",
    Kind.LOG_UNACKNOWLEDGED: "an event that PostgreSQL has, held by a consumer that is gone",
}


class Finding(BaseModel):
    """One place where the two differ."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    user: UserId | None = None
    conversation: ConversationId | None = None
    number: int | None = None
    position: Position | None = None

    def __str__(self) -> str:
        parts = [str(part) for part in (self.user, self.conversation) if part]
        if self.number is not None:
            parts.append(f"#{self.number}")
        if self.position is not None:
            parts.append(f"@{self.position}")
        return " ".join(parts)


class Tally(BaseModel):
    """What a run has looked at and found, as it stands in reports and checkpoints."""

    conversations: int = 0
    users: int = 0
    log_entries: int = 0
    found: Counter[Kind] = Counter()
    repaired: Counter[Kind] = Counter()
    undecided: int = 0
    """Conversations and lists that changed under every look."""
    examples: dict[Kind, list[Finding]] = {}

    def add(self, found: Sequence[Finding], *, left: Sequence[Finding], repairing: bool) -> None:
        """Count what was `found` in one place, and what is still `left` after its repair, which may have
        brought more to light."""
        seen, remaining = Counter(f.kind for f in found), Counter(f.kind for f in left)
        for kind, count in (seen | remaining).items():
            self.found[kind] += count
            if repairing:
                self.repaired[kind] += count - remaining[kind]
        for finding in (*found, *left):
            known = self.examples.setdefault(finding.kind, [])
            if len(known) < MAX_EXAMPLES and finding not in known:
                known.append(finding)

    @property
    def drift(self) -> int:
        """How much was found."""
        return self.found.total()

    @property
    def left(self) -> int:
        """How much of it is still there."""
        return self.found.total() - self.repaired.total()

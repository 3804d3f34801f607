"""Where Redis and the record differ, of looks that belong together. Pure; each part names its kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pydantic_core import from_json

from common.domain.conversations import Header
from common.domain.ids import parse_conversation_id
from common.domain.messages import Numbered, numbered
from common.domain.overlay import pending_messages
from common.postgres.audit import RecordLook
from common.redis.audit import ConversationLook, EntryState, UserLook
from tools.verify.expected import Expected
from tools.verify.findings import Finding, Kind


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one conversation, in this order: Redis, then PostgreSQL.

    `record_ids` are the numbers of the message ids that Redis names, and of all that it should.
    """

    look: ConversationLook
    record: RecordLook | None
    expected: Expected | None
    record_ids: dict[str, int]
    gone: frozenset[int]
    """Numbers of deleted messages, and of parked ones: that an id stands for one is right."""

    @property
    def gaps(self) -> list[int]:
        """Numbers without a message, a tombstone, a pending event or a dead letter."""
        if self.record is None:
            return []
        bodies = pending_messages(self.look.events).bodies
        return [n for gap in self.record.gaps for n in gap if n not in bodies and n not in self.gone]


def findings(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong with one conversation."""
    look = evidence.look
    found = [
        *_record(evidence),
        *_pending(look),
        *_header(evidence),
        *_ids(evidence),
        *_list(evidence),
    ]
    about = {"user": look.user, "conversation": look.conversation}
    return [finding.model_copy(update=about) for finding in found]


def _record(evidence: Evidence) -> Iterator[Finding]:
    record = evidence.record
    if record is None:
        return
    header = record.header
    if record.buried:
        yield Finding(kind=Kind.RECORD_BURIED)
    if record.remains:
        yield Finding(kind=Kind.RECORD_REMAINS)
    if header.deleted:
        return
    if header.message_count != record.rows:
        yield Finding(kind=Kind.RECORD_COUNT)
    if record.highest is not None and header.next_sequence_number <= record.highest:
        yield Finding(kind=Kind.RECORD_NEXT, number=record.highest)
    if (header.preview, record.preview_sequence) != (record.own_preview or (None, None)):
        yield Finding(kind=Kind.RECORD_PREVIEW, number=record.preview_sequence)
    for number in evidence.gaps:
        yield Finding(kind=Kind.RECORD_GAP, number=number)


def _pending(look: ConversationLook) -> Iterator[Finding]:
    for waiting in look.waiting:
        if waiting.state in (EntryState.SETTLED, EntryState.GONE):
            yield Finding(kind=Kind.PENDING_ORPHAN, position=waiting.position)
    if look.waiting and not look.in_user_pending:
        yield Finding(kind=Kind.PENDING_UNLISTED)
    if look.waiting and look.lifetime_ms == -2:
        yield Finding(kind=Kind.HEADER_MISSING)
    if look.waiting and look.lifetime_ms >= 0:
        yield Finding(kind=Kind.HEADER_EXPIRES)
    if not look.waiting and look.lifetime_ms == -1 and not look.stale:
        yield Finding(kind=Kind.HEADER_NO_TTL)


_Fields = tuple[tuple[Kind, Callable[[Header], object]], ...]
_FIELDS: Final[_Fields] = (
    (Kind.HEADER_TITLE, lambda h: h.state.title),
    (Kind.HEADER_MODEL, lambda h: h.state.model),
    (Kind.HEADER_METADATA, lambda h: _parsed(h.state.metadata)),
    (Kind.HEADER_CREATED, lambda h: h.state.created_at),
    (Kind.HEADER_MODIFIED, lambda h: h.last_modified_ms),
    (Kind.HEADER_COUNT, lambda h: h.message_count),
)
_COUNTERS: Final[_Fields] = (
    (Kind.HEADER_VERSION, lambda h: h.version),
    (Kind.HEADER_EPOCH, lambda h: h.epoch),
    (Kind.HEADER_DELETED, lambda h: h.deleted),
)


def _header(evidence: Evidence) -> Iterator[Finding]:
    look, expected = evidence.look, evidence.expected
    if look.garbled:
        yield Finding(kind=Kind.HEADER_GARBLED)
    if look.header is None:
        return
    if look.stale:
        # Known to be so, and gone with the last pending event; a tombstone waits for its dead letter.
        if expected is not None:
            yield from (f for f in _next_number(look.header, expected) if f.kind is Kind.HEADER_NEXT_BEHIND)
    elif expected is None:
        yield Finding(kind=Kind.HEADER_ORPHAN)
    else:
        yield from _next_number(look.header, expected)
        yield from _header_fields(look.header, expected)


def _next_number(is_: Header, expected: Expected) -> Iterator[Finding]:
    number = is_.next_sequence_number
    if number < expected.header.next_sequence_number:
        yield Finding(kind=Kind.HEADER_NEXT_BEHIND, number=number)
    if number > expected.header.next_sequence_number:
        yield Finding(kind=Kind.HEADER_NEXT_AHEAD, number=number)


def _header_fields(is_: Header, expected: Expected) -> Iterator[Finding]:
    should = expected.header
    fields = _COUNTERS if is_.deleted or should.deleted else (*_COUNTERS, *_FIELDS)
    for kind, value in fields:
        if value(is_) != value(should):
            yield Finding(kind=kind)
    if not should.deleted and expected.preview_known and is_.preview != should.preview:
        yield Finding(kind=Kind.HEADER_PREVIEW)


def wrong_ids(evidence: Evidence) -> dict[str, tuple[Kind, int | None]]:
    """Message ids that Redis has wrong, with the number that they should stand for."""
    look, expected = evidence.look, evidence.expected
    if look.header is None or expected is None or expected.header.deleted or look.header.deleted:
        return {}
    should = dict(evidence.record_ids)
    for message in pending_messages(look.events).bodies.values():
        if message.sequence_number not in evidence.gone:
            should[_id_of(message)] = message.sequence_number
    wrong: dict[str, tuple[Kind, int | None]] = {}
    for message_id, value in look.ids.items():
        number = _id_number(value)
        if message_id not in should:
            if number not in evidence.gone:
                wrong[message_id] = Kind.IDS_UNKNOWN, None
        elif number != should[message_id]:
            wrong[message_id] = Kind.IDS_NUMBER, should[message_id]
    for message_id, number in should.items():
        if message_id not in look.ids and number >= look.ids_from:
            wrong[message_id] = Kind.IDS_MISSING, number
    return wrong


def _ids(evidence: Evidence) -> Iterator[Finding]:
    for message_id, (kind, number) in wrong_ids(evidence).items():
        is_ = evidence.look.ids.get(message_id)
        yield Finding(kind=kind, number=number if is_ is None else _id_number(is_))


def _list(evidence: Evidence) -> Iterator[Finding]:
    look, expected = evidence.look, evidence.expected
    if not look.messages:
        return
    if expected is None or expected.header.deleted:
        yield Finding(kind=Kind.LIST_ORPHAN)
        return
    cached: list[Numbered] = []
    for message in look.messages:
        try:
            cached.append(numbered(message))
        except ValueError:
            yield Finding(kind=Kind.LIST_GARBLED)
    numbers = [message.sequence_number for message in cached]
    for number, times in Counter(numbers).items():
        if times > 1:
            yield Finding(kind=Kind.LIST_DUPLICATE, number=number)
    for before, after in pairwise(numbers):
        if before > after:
            yield Finding(kind=Kind.LIST_ORDER, number=after)
    yield from _list_contents(cached, expected)


def _list_contents(cached: Iterable[Numbered], expected: Expected) -> Iterator[Finding]:
    shown = {message.sequence_number: message.body for message in cached}
    should = {message.sequence_number: message.body for message in expected.messages}
    # A list is a gapless part of the conversation up to its newest message; where it begins is open.
    begin = max(expected.floor, min(shown, default=0))
    for number, body in should.items():
        if number >= begin and number not in shown:
            yield Finding(kind=Kind.LIST_MISSING, number=number)
        elif number in shown and shown[number] != body:
            yield Finding(kind=Kind.LIST_BODY, number=number)
    for number in shown:
        if number >= expected.floor and number not in should:
            yield Finding(kind=Kind.LIST_EXTRA, number=number)


def user_findings(look: UserLook, should: Mapping[str, Header]) -> list[Finding]:
    """What is wrong with a user's list, which should show `should`: all conversations above its floor."""
    found = [Finding(kind=Kind.USER_PENDING_ORPHAN, conversation=name) for name in look.orphans]
    if look.cached:
        found += _user_list(look, should)
    return [finding.model_copy(update={"user": look.user}) for finding in found]


def _user_list(look: UserLook, should: Mapping[str, Header]) -> Iterator[Finding]:
    if look.floor is None:
        yield Finding(kind=Kind.USER_LIST_FLOOR)
        return
    for name, header in should.items():
        if name not in look.scores:
            yield Finding(kind=Kind.USER_LIST_MISSING, conversation=header.id)
            continue
        if look.scores[name] != header.last_modified_ms:
            yield Finding(kind=Kind.USER_LIST_SCORE, conversation=header.id)
        if _summary(look.summaries.get(name)) != _summary(header.summary()):
            yield Finding(kind=Kind.USER_LIST_SUMMARY, conversation=header.id)
    for name in (look.scores.keys() | look.summaries.keys()) - should.keys():
        yield Finding(kind=Kind.USER_LIST_EXTRA, conversation=parse_conversation_id(name))


def _summary(text: bytes | None) -> Any:
    """A summary as an object: who writes it may escape as it likes."""
    return None if text is None else _parsed(text + b"}")


def _parsed(text: bytes) -> Any:
    try:
        return repr(from_json(text))
    except ValueError:
        return text


def _id_of(message: Numbered) -> str:
    return str(from_json(message.body)["id"])


def _id_number(value: bytes) -> int | None:
    number, _, _ = value.partition(b" ")
    return int(number) if number.isdigit() else None

"""Events that only Redis still tells of, made again so that the record can take them in. Pure.

Writing one that the record has already changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

from common.domain.events import (
    ConversationCreated,
    ConversationDeleted,
    ConversationEvent,
    MessageBody,
    MessagesAppended,
)
from common.domain.ids import Position
from common.domain.messages import numbered
from common.domain.overlay import pending_messages
from common.redis.audit import EntryState
from tools.verify.compare import Evidence
from tools.verify.findings import Kind

_NOWHERE: Final = Position("0-0")
Placed = tuple[Position, ConversationEvent]
"""An event and where it stands on the log; `0-0`: no longer anywhere."""


def settled_events(evidence: Evidence) -> list[Placed]:
    """Events that were acknowledged to the group and still are on the pending list: most likely recorded,
    and to be recorded before they are taken off."""
    return [
        (waiting.position, waiting.event)
        for waiting in evidence.look.waiting
        if waiting.state is EntryState.SETTLED and waiting.event is not None
    ]


def events_of_header(evidence: Evidence, kinds: set[Kind]) -> list[Placed]:
    """A conversation that only a header tells of, or its deletion: acknowledged, and lost on its way."""
    look, header = evidence.look, evidence.look.header
    if header is None:
        return []
    about: dict[str, Any] = {
        "user_id": look.user,
        "conversation_id": look.conversation,
        "version": header.version,
        "epoch": header.epoch,
        "at_ms": header.last_modified_ms,
    }
    if Kind.HEADER_ORPHAN in kinds and not header.deleted:
        return [(_NOWHERE, ConversationCreated(**about, state=header.state))]
    alive = evidence.expected is None or not evidence.expected.header.deleted
    if kinds & {Kind.HEADER_ORPHAN, Kind.HEADER_DELETED} and header.deleted and alive:
        return [(_NOWHERE, ConversationDeleted(**about))]
    return []


def events_of_list(evidence: Evidence) -> list[Placed]:
    """Messages that the record lacks and the cached list shows, with ids that Redis gave these numbers."""
    look, header = evidence.look, evidence.look.header
    if header is None or header.deleted or evidence.record is None or evidence.record.header.deleted:
        return []
    given = evidence.record.header.next_sequence_number
    gaps, pending = set(evidence.gaps), pending_messages(look.events).bodies
    events: list[Placed] = []
    for message in look.messages:
        try:
            found = numbered(message)
            body = MessageBody(found.body)
            message_id = str(body.fields["id"])
        except (ValueError, KeyError):
            continue
        number = found.sequence_number
        lacking = number in gaps or (given <= number < header.next_sequence_number and number not in pending)
        if lacking and look.ids.get(message_id, b"").partition(b" ")[0] == b"%d" % number:
            event = MessagesAppended(
                user_id=look.user,
                conversation_id=look.conversation,
                at_ms=header.last_modified_ms,
                version=0,  # of no event that is known, so that any edit is later
                first_sequence_number=number,
                bodies=(body,),
            )
            events.append((_NOWHERE, event))
    return events

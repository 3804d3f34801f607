"""Messages as a client sends them: recognised, checked, made ready for the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from common.checks.errors import FieldError, Invalid
from common.checks.messages import check_count, ready_messages
from common.domain.ids import MessageId
from common.domain.messages import NewMessage, changed_fields
from common.domain.publishing import Revise
from common.settings import LimitsSettings

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The messages of a body, not yet checked; `beside` is what stood next to `messages`.

    `single` says that the body was one message itself, so that its fields are named without a prefix.
    """

    messages: list[Any]
    beside: Fields
    single: bool


def recognise(body: object, *, taken_out: Sequence[str] = ()) -> Submitted:
    """Tell `{"messages": […]}` from one message; the key `messages` decides.

    Of a single message the fields in `taken_out` are not the message's, but stand beside it.
    Raises Invalid where it is neither.
    """
    if not isinstance(body, dict):
        raise Invalid(FieldError("body", 'must be an object: a message, or {"messages": […]}'))
    fields = cast(Fields, body)
    if "messages" not in fields:
        beside = {name: fields[name] for name in taken_out if name in fields}
        message = {name: value for name, value in fields.items() if name not in beside}
        return Submitted([message], beside, single=True)
    messages = fields["messages"]
    if not isinstance(messages, list):
        raise Invalid(FieldError("messages", "must be a list"))
    beside = {name: value for name, value in fields.items() if name != "messages"}
    return Submitted(cast(list[Any], messages), beside, single=False)


def ready(
    submitted: Submitted,
    *,
    at_ms: int,
    limits: LimitsSettings,
    derived: Callable[[int], MessageId] | None = None,
) -> list[NewMessage]:
    """Check the messages and make them ready; `derived` names those without an id, by their index.

    Raises Invalid, which names each wrong field.
    """
    check_count(len(submitted.messages), limits)
    return ready_messages(
        submitted.messages, at_ms=at_ms, limits=limits, derived=derived, single=submitted.single
    )


def revision(body: object, message_id: MessageId, *, at_ms: int, limits: LimitsSettings) -> Revise:
    """How the fields of `body` change the message `message_id`; what it makes is checked like any message.

    Raises Invalid, also where `body` names nothing to change.
    """
    if not isinstance(body, dict):
        raise Invalid(FieldError("body", "must be an object: the fields to change"))
    change = cast(Fields, body)
    if change.get("id", message_id) != message_id:
        raise Invalid(FieldError("id", "cannot be changed"))
    if not change.keys() - {"id", "sequence_number"}:
        raise Invalid(FieldError("body", "names nothing to change"))

    def revise(stored: bytes) -> NewMessage:
        changed = changed_fields(stored, change)
        [message] = ready_messages([changed], at_ms=at_ms, limits=limits, single=True)
        return message

    return revise

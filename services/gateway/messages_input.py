"""Messages as a client sends them: recognised, checked, made ready for the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import TypeAdapter

from common.domain.ids import MessageId
from common.domain.messages import Message, NewMessage, new_message
from common.settings import LimitsSettings
from services.gateway.bodies import infinities
from services.gateway.problems import FieldError, invalid
from services.gateway.validation import Path, field_name, validate

_MESSAGES: Final = TypeAdapter(list[Message])
_MESSAGE: Final = TypeAdapter(Message)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The messages of a body, not yet checked; `beside` is what stood next to `messages`.

    `single` says that the body was one message itself, so that its fields are named without a prefix.
    """

    messages: list[Any]
    beside: Fields
    single: bool

    def path(self, index: int) -> Path:
        """How the message at `index` is named in an error."""
        return () if self.single else ("messages", index)


def recognise(body: object, *, taken_out: Sequence[str] = ()) -> Submitted:
    """Tell `{"messages": […]}` from one message; the key `messages` decides.

    Of a single message the fields in `taken_out` are not the message's, but stand beside it.
    Raises Problem (422) where it is neither.
    """
    if not isinstance(body, dict):
        raise invalid(FieldError("body", 'must be an object: a message, or {"messages": […]}'))
    fields = cast(Fields, body)
    if "messages" not in fields:
        beside = {name: fields[name] for name in taken_out if name in fields}
        message = {name: value for name, value in fields.items() if name not in beside}
        return Submitted([message], beside, single=True)
    messages = fields["messages"]
    if not isinstance(messages, list):
        raise invalid(FieldError("messages", "must be a list"))
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

    Raises Problem (422), which names each wrong field.
    """
    count = len(submitted.messages)
    if not 1 <= count <= limits.max_batch_messages:
        raise invalid(FieldError("messages", f"must hold 1 to {limits.max_batch_messages} messages"))
    if submitted.single:
        validate(_MESSAGE, submitted.messages[0])
    else:
        validate(_MESSAGES, submitted.messages, prefix=("messages",))
    made = [
        new_message(cast(Fields, fields), at_ms=at_ms, default_id=derived(index) if derived else None)
        for index, fields in enumerate(submitted.messages)
    ]
    errors = [*_unfit(submitted, made, limits), *_repeated_ids(submitted, made)]
    if errors:
        raise invalid(*errors)
    return made


def _unfit(submitted: Submitted, made: Sequence[NewMessage], limits: LimitsSettings) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, message in enumerate(made):
        path = submitted.path(index)
        if _CONTROL.search(message.id):
            errors.append(FieldError(field_name((*path, "id")), "must not hold control characters"))
        if len(message.body) > limits.max_message_bytes:
            text = f"takes more than {limits.max_message_bytes} bytes (LIMITS_MAX_MESSAGE_BYTES)"
            errors.append(FieldError(field_name(path), text))
        # The writer's word for a number like 1e999; only then is it worth looking for.
        if b"Infinity" in message.body:
            found = infinities(submitted.messages[index], path)
            errors += [FieldError(field_name(where), "is too large a number") for where in found]
    return errors


def _repeated_ids(submitted: Submitted, made: Sequence[NewMessage]) -> list[FieldError]:
    seen: set[MessageId] = set()
    errors: list[FieldError] = []
    for index, message in enumerate(made):
        if message.id in seen:
            errors.append(FieldError(field_name((*submitted.path(index), "id")), "is there twice"))
        seen.add(message.id)
    return errors

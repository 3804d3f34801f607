"""Messages as they are sent: checked, made ready for the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, cast

from pydantic import TypeAdapter

from common.checks.errors import FieldError, Invalid, Path, field_name, refuse
from common.checks.fields import validate
from common.checks.json_text import infinities
from common.domain.ids import MessageId
from common.domain.messages import Message, NewMessage, new_message
from common.settings import LimitsSettings

_MESSAGES: Final = TypeAdapter(list[Message])
_MESSAGE: Final = TypeAdapter(Message)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def ready_messages(
    sent: Sequence[Any],
    *,
    at_ms: int,
    limits: LimitsSettings,
    derived: Callable[[int], MessageId] | None = None,
    single: bool = False,
) -> list[NewMessage]:
    """Check messages, parsed from JSON, and make them ready; `derived` names those without an id.

    Raises Invalid, which names each wrong field: `messages.3.role`, or `role` of a `single` message.
    """
    if single:
        validate(_MESSAGE, sent[0])
    else:
        validate(_MESSAGES, sent, prefix=("messages",))
    made = [
        new_message(cast(dict[str, Any], fields), at_ms=at_ms, default_id=derived(index) if derived else None)
        for index, fields in enumerate(sent)
    ]
    paths: list[Path] = [() if single else ("messages", index) for index in range(len(made))]
    refuse(chain(_unfit(sent, made, paths, limits), _repeated_ids(made, paths)))
    return made


def check_count(count: int, limits: LimitsSettings) -> None:
    """Refuse an append without messages, or with too many. Raises Invalid."""
    if not 1 <= count <= limits.max_batch_messages:
        raise Invalid(FieldError("messages", f"must hold 1 to {limits.max_batch_messages} messages"))


def _unfit(
    sent: Sequence[Any], made: Sequence[NewMessage], paths: Sequence[Path], limits: LimitsSettings
) -> Iterator[FieldError]:
    for fields, message, path in zip(sent, made, paths, strict=True):
        if _CONTROL.search(message.id):
            yield FieldError(field_name((*path, "id")), "must not hold control characters")
        if len(message.body) > limits.max_message_bytes:
            text = f"takes more than {limits.max_message_bytes} bytes (LIMITS_MAX_MESSAGE_BYTES)"
            yield FieldError(field_name(path), text)
        # The writer's word for a number like 1e999; only then is it worth looking for.
        elif b"Infinity" in message.body:
            for where in infinities(fields, path):
                yield FieldError(field_name(where), "is too large a number")


def _repeated_ids(made: Sequence[NewMessage], paths: Sequence[Path]) -> Iterator[FieldError]:
    seen: set[MessageId] = set()
    for message, path in zip(made, paths, strict=True):
        if message.id in seen:
            yield FieldError(field_name((*path, "id")), "is there twice")
        seen.add(message.id)

"""What is wrong with something that was sent, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from common.domain.errors import TurnlogError

Path = tuple[str | int, ...]
MAX_FIELD_CHARS: Final = 200
MAX_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, query parameter or header."""

    field: str
    message: str


class Invalid(TurnlogError):
    """Something that was sent is refused; `errors` names what is wrong, the first is also the text."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(f"{errors[0].field}: {errors[0].message}")
        self.errors = errors


class NotJson(TurnlogError):
    """What was sent is no JSON at all; the text says where it stops being JSON."""


def field_name(path: Sequence[str | int]) -> str:
    """`path` as it is shown: `messages.3.role`; `body` for the whole."""
    name = ".".join(str(step).replace("\0", "\\u0000") for step in path)
    return name[:MAX_FIELD_CHARS] or "body"


def refuse(errors: Iterable[FieldError]) -> None:
    """Raise Invalid with the first MAX_ERRORS of `errors`, if there are any; the rest is not looked for."""
    if first := list(islice(errors, MAX_ERRORS)):
        raise Invalid(*first)

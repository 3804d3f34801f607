"""Dead letters for people and for programs. What a user wrote is shown by `show` alone."""

from __future__ import annotations

import base64
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.domain.ids import isoformat_ms
from common.redis.dead import DeadLetter


def summary(letter: DeadLetter) -> dict[str, Any]:
    """One line of a list, without anything that a user wrote: no body, and of the error only its kind."""
    fields = letter.fields
    return {
        "letter": letter.name,
        "partition": letter.partition,
        "original_position": letter.original,
        "parked_at": isoformat_ms(letter.parked_at_ms),
        "parked_by": letter.by,
        "type": _text(fields.get(b"type")),
        "user": _text(fields.get(b"user")),
        "conversation": _text(fields.get(b"conversation")),
        "error": letter.kind,
        "sqlstate": letter.sqlstate or None,
    }


def whole(letter: DeadLetter) -> dict[str, Any]:
    """All of a letter. Fields that are no UTF-8 are `{"base64": …}`; in their order, of doubles all."""
    words = zip(letter.words[::2], letter.words[1::2], strict=True)
    event = letter.event
    return {
        **summary(letter),
        "error_text": letter.error,
        "readable": event is not None,
        "event": event.model_dump(mode="json") if event is not None else None,
        "fields": [[_value(name), _value(value)] for name, value in words],
    }


def show_list(letters: list[DeadLetter], total: int) -> None:
    """A table on standard output."""
    table = Table(box=None, pad_edge=False)
    for column in ("letter", "was at", "parked", "type", "user", "conversation", "error"):
        table.add_column(column, no_wrap=True)
    for letter in letters:
        line = summary(letter)
        error = " ".join(filter(None, (line["error"], line["sqlstate"])))
        values = (
            *(line["letter"], line["original_position"], line["parked_at"][:19] + "Z", line["type"]),
            *(line["user"], line["conversation"], error),
        )
        table.add_row(*(Text(printable(value or "-")) for value in values))
    # As wide as it needs to be: a name that is cut off names nothing.
    console = Console(highlight=False, soft_wrap=True, width=1000)
    if letters:
        console.print(table)
    shown = "" if len(letters) == total else f", {len(letters):,} of them shown"
    console.print(f"{total:,} dead letters{shown}")


def printable(text: str, longest: int = 60) -> str:
    """`text` without what a terminal would obey: somebody else wrote it."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(character if character.isprintable() else "�" for character in short)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _value(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}

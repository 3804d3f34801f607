"""What an import has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of conversations and messages. `refused` counts lines, which may hold neither."""

    new: int = 0
    known: int = 0
    deleted: int = 0
    refused: int = 0
    new_messages: int = 0
    known_messages: int = 0

    @property
    def conversations(self) -> int:
        """Conversations that were read, the deleted ones too."""
        return self.new + self.known + self.deleted

    @property
    def messages(self) -> int:
        """Messages that are in Turnlog now."""
        return self.new_messages + self.known_messages

    @property
    def nothing_new(self) -> bool:
        """Whether all that was read was there before."""
        return not self.new and not self.new_messages


def summary(tally: Tally, seconds: float) -> str:
    """The end of an import, for people."""
    if not tally.conversations and not tally.refused:
        return "nothing to import: no conversations were found"
    rows = [
        ("conversations", tally.conversations),
        ("  new or longer", tally.new),
        ("  already there", tally.known),
        ("  deleted here, left so", tally.deleted),
        ("messages", tally.messages),
        ("  new", tally.new_messages),
        ("  already there", tally.known_messages),
        ("lines refused", tally.refused),
    ]
    counts = "\n".join(f"{name:<24}{count:>12,}" for name, count in rows)
    if tally.nothing_new:
        return f"{counts}\nnothing new: checked {tally.messages:,} messages in {seconds:.1f} s"
    rate = tally.messages / seconds if seconds else 0
    return f"{counts}\npublished in {seconds:.1f} s: {rate:,.0f} messages/s"

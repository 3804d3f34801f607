"""What a history was found to break, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Violation(StrEnum):
    """The ways to break a promise."""

    LOST = "lost"  # acknowledged or seen, and not in the record or in a final read
    DUPLICATED = "duplicated"  # one message, or conversation, twice
    STALE = "stale"  # a read or a list without what it must have, or older than an earlier one
    REORDERED = "reordered"  # another number, or another order, than before or than the calls had
    REUSED = "reused"  # one number for two messages
    GAP = "gap"  # a number without a message that was not deleted
    TORN = "torn"  # a part of a batch without its rest
    RESURRECTED = "resurrected"  # anything of a conversation after its delete
    CROSS_USER = "cross-user"  # anything of another user
    UNSENT = "unsent"  # a message that nobody sent (so or there), or whose append was refused
    DISORDERED = "disordered"  # a list that is not newest first, or a reply with what was not asked for
    REFUSED = "refused"  # a valid call
    MISCOUNTED = "miscounted"  # a count or counter that is not what the rows say


@dataclass(frozen=True, slots=True)
class Evidence:
    """One finding. `subject` is what it is counted by: a message, a read, a conversation."""

    violation: Violation
    subject: str
    text: str


@dataclass
class Verdict:
    """All findings, each subject once, and what was looked at."""

    operations: int = 0
    events: int = 0  # acknowledged changes
    messages: int = 0  # acknowledged, each once
    unknown: int = 0  # operations whose outcome nobody knows
    findings: dict[tuple[Violation, str], Evidence] = field(
        default_factory=dict[tuple[Violation, str], Evidence]
    )

    @property
    def clean(self) -> bool:
        """Whether no promise was broken."""
        return not self.findings

    @property
    def counts(self) -> Mapping[Violation, int]:
        """How many findings of each kind, the zeros too."""
        counted = dict.fromkeys(Violation, 0)
        for violation, _ in self.findings:
            counted[violation] += 1
        return counted

    def add(self, violation: Violation, subject: str, text: str) -> None:
        """Note a finding, unless there is one about the same subject."""
        self.findings.setdefault((violation, subject), Evidence(violation, subject, text))

    def of(self, violation: Violation) -> list[Evidence]:
        """The findings of one kind."""
        return [evidence for evidence in self.findings.values() if evidence.violation is violation]

    def text(self, most: int = 5) -> str:
        """For people: the counts, and at most `most` pieces of evidence of each kind."""
        lines = [
            f"{self.operations:,} operations, {self.events:,} acknowledged events,"
            f" {self.messages:,} acknowledged messages, {self.unknown:,} unknown outcomes",
            "  ".join(f"{violation} {count:,}" for violation, count in self.counts.items()),
        ]
        for violation, count in self.counts.items():
            if count:
                lines.append(f"\n{violation}: {count:,}")
                lines += [f"  {evidence.text}" for evidence in self.of(violation)[:most]]
                lines += [f"  … and {count - most:,} more"] if count > most else []
        return "\n".join(lines)

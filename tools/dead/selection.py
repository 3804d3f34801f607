"""Which dead letters a command is about."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from common.domain.ids import Position
from common.redis.dead import DeadLetter, DeadLetters
from tools.errors import CommandError

_NAME = re.compile(r"([0-9]+)/([0-9]+-[0-9]+)")


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters by name, or those that agree with all that is given; `error` is a part of the error."""

    names: tuple[str, ...] = ()
    user: str | None = None
    conversation: str | None = None
    error: str | None = None
    partition: int | None = None
    limit: int | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether it is anything less than all letters."""
        given = (self.user, self.conversation, self.error, self.partition, self.limit)
        return bool(self.names) or any(value is not None for value in given)

    async def of(self, letters: DeadLetters) -> AsyncGenerator[DeadLetter]:
        """The letters, oldest first within each partition; none that are parked meanwhile."""
        if self.names:
            for name in self.names:
                yield await find(letters, name)
            return
        found = 0
        for partition, end in (await letters.ends()).items():
            if self.partition not in (None, partition):
                continue
            async for letter in letters.up_to(partition, end):
                if not self._fits(letter):
                    continue
                yield letter
                found += 1
                if found == self.limit:
                    return

    def _fits(self, letter: DeadLetter) -> bool:
        fields = letter.fields
        return (
            (self.user is None or fields.get(b"user") == self.user.encode())
            and (self.conversation is None or fields.get(b"conversation") == self.conversation.encode())
            and (
                self.error is None
                or self.error.lower() in f"{letter.kind} {letter.sqlstate} {letter.error}".lower()
            )
        )


async def find(letters: DeadLetters, name: str) -> DeadLetter:
    """The letter that is called `name`. Raises CommandError where there is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise CommandError(
            f"{name!r} names no dead letter; they are called 3/1760000000000-0, as in the list"
        )
    letter = await letters.get(int(match[1]), Position(match[2]))
    if letter is None:
        raise CommandError(f"there is no dead letter {name}: it was requeued or dropped, or never was")
    return letter

"""Which ends of processes were our doing. Any other is a finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Deaths:
    """Keeps account. A process that a fault may bring down is `tolerated` while that fault lasts."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.unexpected: list[str] = []
        self._report = report
        self._expected = Counter[str]()
        self._tolerated = Counter[str]()
        self._counting = False

    def begin(self) -> None:
        """From now on an end that was not announced is a finding."""
        self._counting = True

    def end(self) -> None:
        """From now on everything may end."""
        self._counting = False

    def expect(self, name: str) -> None:
        """The next end of `name` is ours."""
        self._expected[name] += 1

    def tolerate(self, name: str) -> None:
        """`name` may end, or not."""
        self._tolerated[name] += 1

    def tolerate_no_more(self, name: str) -> None:
        """The inverse of `tolerate`."""
        self._tolerated[name] -= 1

    def ended(self, name: str, how: str) -> None:
        """A process ended by itself."""
        if not self._counting:
            return
        if self._expected[name]:
            self._expected[name] -= 1
        elif not self._tolerated[name]:
            self.unexpected.append(how)
            self._report(how)

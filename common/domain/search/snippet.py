"""What is shown of a hit: the stretch of its text with most of what was looked for, in parts.

Parts, not markup and not offsets: whoever shows them decides how, nothing in a message can pass for a
mark, and no two languages have to agree on what a character is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from common.domain.search.wanted import Phrase, Wanted
from common.domain.search.words import Word, words

SNIPPET_CHARS: Final = 240
_BEFORE: Final = 60
_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text; `match` where it is what was looked for."""

    text: str
    match: bool


def snippet(text: str, wanted: Wanted) -> list[Part]:
    """Parts that, one after the other, are about SNIPPET_CHARS characters of `text`."""
    found = words(text)
    spans = _joined(span for phrase in wanted.phrases for span in _spans(found, phrase))
    start, end = _stretch(text, found, spans)
    parts = [Part(_ELLIPSIS, False)] if start > 0 else []
    place = start
    for begin, stop in spans:
        if start <= begin and stop <= end:
            parts += [Part(text[place:begin], False), Part(text[begin:stop], True)]
            place = stop
    parts.append(Part(text[place:end] + (_ELLIPSIS if end < len(text) else ""), False))
    return [part for part in parts if part.text]


def _spans(found: list[Word], phrase: Phrase) -> Iterator[tuple[int, int]]:
    """Where `phrase` stands in the text."""
    last = phrase[-1]
    for i in range(len(found) - last.offset):
        if all(term.fits(found[i + term.offset]) for term in phrase):
            end = found[i + last.offset]
            yield found[i].start, end.first_end if last.dense and last.prefix else end.end


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` in order, those that overlap made one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _stretch(text: str, found: list[Word], spans: list[tuple[int, int]]) -> tuple[int, int]:
    """The stretch with the most spans in it, cut between words."""
    if len(text) <= SNIPPET_CHARS:
        return 0, len(text)
    begin, most, j = 0, 0, 0
    for i, (start, _) in enumerate(spans):
        while j < len(spans) and spans[j][1] <= start - _BEFORE + SNIPPET_CHARS:
            j += 1
        if j - i > most:
            begin, most = start, j - i
    low = max(0, min(begin - _BEFORE, len(text) - SNIPPET_CHARS))
    start = next((word.start for word in found if word.start >= low), low) if low else 0
    start = min(start, begin) if spans else start
    high = start + SNIPPET_CHARS
    end = max((word.end for word in found if start < word.end <= high), default=high)
    return start, len(text) if high >= len(text) else end

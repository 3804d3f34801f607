"""Text as words: one rule for what a message is found by, for what is looked for, and for what is lit up.

Case, accents and width do not count. Where a script leaves no spaces between words (Han, kana, Hangul,
Thai …) each character is a word together with the one behind it, so that any part of a text is found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

MAX_WORDS: Final = 10_000
"""A message is found by so many of its words, the first. (PostgreSQL counts places up to 16,383.)"""
MAX_WORD_CHARS: Final = 64

# Thai and Lao, Myanmar, Khmer, kana, Han, Hangul, kana of half width.
_DENSE: Final = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1100-\u11ff\u1780-\u17d3"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U000323af"
)
_LETTER: Final = re.compile(
    "[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?|.[{marks}\uff9e\uff9f]*", re.DOTALL
)
# Accents; points and vowel signs of Hebrew and Arabic, which most people leave out; a mere lengthening.
_LEFT_OUT: Final = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]")
_ASCII_WORD: Final = re.compile("[a-z0-9]+")


def _characters(*categories: str) -> str:
    """The characters of these categories, as the inside of a regular expression's brackets."""
    found = (n for n in range(0x80, 0x20000) if unicodedata.category(chr(n)) in categories)
    ranges: list[list[int]] = []
    for number in found:
        if not 0xFE00 <= number <= 0xFE0F:  # how an emoji is to look
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


_MARKS: Final = _characters("Mn", "Mc")
_UNIT: Final = re.compile(_LETTER.pattern.format(marks=_MARKS), re.DOTALL)
_WORD: Final = re.compile(
    f"(?P<dense>[{_DENSE}]+)|(?P<word>(?:[^\\W_{_DENSE}]|[{_MARKS}])+)|(?P<symbol>[{_characters('So')}])"
)


class Word(NamedTuple):
    """A word as it is compared, and where it stands in the text.

    In a dense script `first_end` is where its first character ends, and `tail` says that it is the last
    character of a run, which the word before has already.
    """

    text: str
    start: int
    end: int
    first_end: int
    dense: bool = False
    tail: bool = False


def words(text: str, limit: int = MAX_WORDS) -> list[Word]:
    """The first `limit` words of `text`, in order."""
    return list(islice(_words(text), limit))


def word_texts(text: str, limit: int = MAX_WORDS) -> list[str]:
    """The same, only how they are compared."""
    if text.isascii():
        return [word[:MAX_WORD_CHARS] for word in _ASCII_WORD.findall(text.lower())[:limit]]
    return [word.text for word in islice(_words(text), limit)]


def _words(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        if match.lastgroup == "dense":
            yield from _dense(match.group(), match.start())
        elif folded := fold(match.group()):
            yield Word(folded, match.start(), match.end(), match.end())


def _dense(run: str, start: int) -> Iterator[Word]:
    units = [
        (unicodedata.normalize("NFKC", m.group()), start + m.start(), start + m.end())
        for m in _UNIT.finditer(run)
    ]
    for i, (text, begin, end) in enumerate(units):
        if i + 1 < len(units):
            behind, _, behind_end = units[i + 1]
            yield Word((text + behind)[:MAX_WORD_CHARS], begin, behind_end, end, dense=True)
        else:
            yield Word(text[:MAX_WORD_CHARS], begin, end, end, dense=True, tail=i > 0)


@lru_cache(maxsize=20_000)
def fold(word: str) -> str:
    """`word` as it is compared; nothing where only what does not count is in it."""
    if word.isascii():
        return word.lower()[:MAX_WORD_CHARS]
    bare = _LEFT_OUT.sub("", unicodedata.normalize("NFKD", word.casefold()))
    return unicodedata.normalize("NFKC", bare)[:MAX_WORD_CHARS]

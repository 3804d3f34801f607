"""Words as PostgreSQL keeps and compares them: each behind the mark of its user.

So the one index over the words of all users has, for a search, the entries of one user only: how many
messages others have with a word costs nothing, and nobody else's message can be found, whatever is asked.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from itertools import pairwise
from typing import Final

from common.domain.ids import UserId
from common.domain.search.wanted import Phrase, Term, Wanted
from common.domain.search.words import word_texts

MAX_BYTES: Final = 500_000
"""Of one message's words. (PostgreSQL refuses a tsvector of more than 1 MiB.)"""
MAX_PLACES: Final = 255
"""Of one word in one message that are kept; PostgreSQL would leave out the others itself."""
_ENTRY_BYTES: Final = 10
_QUOTED: Final = str.maketrans({"'": "''", "\\": "\\\\"})


def vector_text(user: UserId, text: str) -> str:
    """The words of `text` with their places, as a tsvector is written."""
    places: dict[str, list[str]] = {}
    mark, size = _mark(user), 0
    for place, word in enumerate(word_texts(text), start=1):
        known = places.get(word)
        if known is None:
            size += len(mark) + len(word.encode()) + _ENTRY_BYTES
            if size > MAX_BYTES:
                break
            places[word] = [str(place)]
        elif len(known) < MAX_PLACES:
            size += 2
            known.append(str(place))
    return " ".join(f"'{mark}{word.translate(_QUOTED)}':{','.join(at)}" for word, at in places.items())


def query_text(user: UserId, wanted: Wanted) -> str:
    """What is looked for, as a tsquery is written."""
    mark = _mark(user)
    return " & ".join(f"({_phrase(mark, phrase)})" for phrase in wanted.phrases)


def _phrase(mark: str, phrase: Phrase) -> str:
    text = _term(mark, phrase[0])
    for before, term in pairwise(phrase):
        text += f" <{term.offset - before.offset}> {_term(mark, term)}"
    return text


def _term(mark: str, term: Term) -> str:
    return f"'{mark}{term.text.translate(_QUOTED)}'{':*' if term.prefix else ''}"


@lru_cache(maxsize=10_000)
def _mark(user: UserId) -> str:
    """Eight characters, the same for ever. Two users may share one: statements ask for the user, too."""
    return base64.b32encode(hashlib.blake2b(user.encode(), digest_size=5).digest()).decode().lower()

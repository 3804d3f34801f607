"""What a search looks for: every one of its phrases, each one word or several in their order."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from common.domain.errors import InvalidCursor, InvalidSearch
from common.domain.ids import ConversationId, parse_conversation_id
from common.domain.messages import BIGINT_MAX, parse_timestamp
from common.domain.search.words import Word, words

MAX_QUERY_CHARS: Final = 500
MAX_TERMS: Final = 32
_PIECE: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')


@dataclass(frozen=True, slots=True)
class Term:
    """A word, or (`prefix`) any that begins so, `offset` words behind the first of its phrase."""

    text: str
    offset: int = 0
    prefix: bool = False
    dense: bool = False

    def fits(self, word: Word) -> bool:
        """Whether `word` is such a one."""
        return word.text.startswith(self.text) if self.prefix else word.text == self.text


Phrase = tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; a message must have all of `phrases`."""

    phrases: tuple[Phrase, ...]

    @property
    def digest(self) -> str:
        """The same for searches that find the same."""
        return hashlib.blake2b(repr(self.phrases).encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands among the hits: best first, of equally good ones the newest."""

    score: float
    created_at: datetime
    conversation: ConversationId
    sequence_number: int


def parse_wanted(text: str) -> Wanted:
    """What `text` asks for: words, `"several in their order"`, and `begin*`. Everything else in it only
    parts words. Raises InvalidSearch where there is no word in it, or there are too many.
    """
    if "\0" in text:
        raise InvalidSearch("Must not contain the character U+0000")
    phrases: dict[Phrase, None] = {}
    for quoted, bare in _PIECE.findall(text):
        phrase = _phrase(words(quoted or bare, MAX_QUERY_CHARS), open_end=bare.endswith("*"))
        if phrase:
            phrases[phrase] = None
    if not phrases:
        raise InvalidSearch("Must have a word to look for in it")
    if sum(map(len, phrases)) > MAX_TERMS:
        raise InvalidSearch(f"Has more than {MAX_TERMS} words in it")
    return Wanted(tuple(phrases))


def _phrase(found: list[Word], *, open_end: bool) -> Phrase:
    """The words of one piece. The last character of a dense run is in the word before already; one that
    stands alone is the beginning of a word, because behind it there may be more of its script."""
    kept = [(i, word) for i, word in enumerate(found) if not word.tail]
    first = kept[0][0] if kept else 0
    return tuple(
        Term(word.text, i - first, (open_end and word is found[-1]) or _alone(word), word.dense)
        for i, word in kept
    )


def _alone(word: Word) -> bool:
    return word.dense and word.first_end == word.end


def make_place(place: Place, wanted: Wanted) -> str:
    """The cursor of what follows `place` in the hits of `wanted`: opaque to clients."""
    parts = (place.score.hex(), place.created_at.isoformat(), place.conversation, str(place.sequence_number))
    return base64.urlsafe_b64encode("|".join((wanted.digest, *parts)).encode()).decode().rstrip("=")


def parse_place(cursor: str, wanted: Wanted) -> Place:
    """The inverse of `make_place`. Raises InvalidCursor, also for a cursor of another search."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        digest, score, created_at, conversation, number = text.split("|")
        place = Place(
            float.fromhex(score),
            parse_timestamp(created_at),
            ConversationId(conversation),
            int(number),
        )
    except (ValueError, OverflowError) as error:
        raise InvalidCursor("the cursor is not one that a reply gave") from error
    known = digest == wanted.digest and parse_conversation_id(conversation) == conversation
    if not (known and 0 <= place.score < float("inf") and 0 <= place.sequence_number <= BIGINT_MAX):
        raise InvalidCursor("the cursor is not one that a reply gave")
    return place

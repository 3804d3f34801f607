"""Search, as far as it is about text: words, what is looked for, what is shown."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.errors import InvalidCursor, InvalidSearch
from common.domain.ids import ConversationId, UserId
from common.domain.search.snippet import SNIPPET_CHARS, snippet
from common.domain.search.wanted import MAX_TERMS, Place, make_place, parse_place, parse_wanted
from common.domain.search.words import MAX_WORD_CHARS, MAX_WORDS, word_texts, words
from common.postgres.search_words import MAX_BYTES, vector_text

ALICE = UserId("alice")
PLACE = Place(
    0.1,
    datetime(2026, 1, 31, 12, 0, 0, 123, UTC),
    ConversationId("0193a7c2-6b1e-7cc3-9d0a-3f1f8a4a5b6c"),
    7,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the Weather?", ["what", "is", "the", "weather"]),
        ("snake_case a.b@c.de", ["snake", "case", "a", "b", "c", "de"]),
        ("Crème BRÛLÉE, straße", ["creme", "brulee", "strasse"]),
        ("cre\u0300me \uff46\uff55\uff4c\uff4c", ["creme", "full"]),
        ("İstanbul", ["istanbul"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שָׁלוֹם عَرَبِيّ", ["שלום", "عربي"]),
        ("去巴黎", ["去巴", "巴黎", "黎"]),
        ("サーバ", ["サー", "ーバ", "バ"]),
        ("ｶﾞｽ", ["ガス", "ス"]),
        ("서울에", ["서울", "울에", "에"]),
        ("\u1112\u1161\u11ab", ["한"]),
        ("iPhone手机", ["iphone", "手机", "机"]),
        ("🎉 ok 👍🏽", ["🎉", "ok", "👍"]),
        ("!?%_\\'\"", []),
    ],
)
def test_words_in_any_language(text: str, expected: list[str]) -> None:
    """As they are compared; where a script has no spaces, every two neighbours."""
    assert word_texts(text) == expected


@given(st.text())
def test_both_ways_to_words_agree_and_places_are_of_the_text(text: str) -> None:
    """What a message is found by is what is lit up in it; no word is empty or long."""
    found = words(text)
    assert [word.text for word in found] == word_texts(text)
    assert all(0 <= word.start < word.first_end <= word.end <= len(text) for word in found)
    assert all(0 < len(word.text) <= MAX_WORD_CHARS for word in found)


@given(st.text(), st.text())
def test_parts_of_a_short_text_are_the_text(text: str, query: str) -> None:
    """Nothing is added, lost or changed: what is shown is what was sent."""
    try:
        wanted = parse_wanted(query)
    except InvalidSearch:
        wanted = parse_wanted("word")
    parts = snippet(text, wanted)
    shown = "".join(part.text for part in parts)
    assert shown.strip("…") in text
    if len(text) <= SNIPPET_CHARS:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "query", "lit"),
    [
        ("What is the weather in Paris?", "PARIS weather", ["weather", "Paris"]),
        ("a big red bus, a red big bus", '"red bus"', ["red bus"]),
        ("weather, weathered, wet", "weath*", ["weather", "weathered"]),
        ("<b>bold</b>", "b", ["b", "b"]),
        ("我想去巴黎旅游", "巴黎", ["巴黎"]),
        ("我想去巴黎旅游", "旅", ["旅"]),
        ("我想去巴黎旅游", "游", ["游"]),
        ("iPhone手机壳", "手机", ["手机"]),
        ("\uff23rème brûlée", "creme", ["\uff23rème"]),
    ],
)
def test_what_is_lit_up(text: str, query: str, lit: list[str]) -> None:
    """As it stands in the text, whole words."""
    assert [part.text for part in snippet(text, parse_wanted(query)) if part.match] == lit


def test_of_a_long_text_the_stretch_with_most_hits_is_shown() -> None:
    """With an ellipsis where it was cut, and not in the middle of a word."""
    text = "Paris here. " + "lorem ipsum " * 200 + "the weather in Paris tomorrow " + "dolor sit " * 200
    parts = snippet(text, parse_wanted("weather paris"))
    shown = "".join(part.text for part in parts)
    assert "weather in Paris" in shown
    assert shown[0] == shown[-1] == "…"
    assert len(shown) <= SNIPPET_CHARS + 2
    assert set(shown[1:-1].split()) <= set(text.split())


@pytest.mark.parametrize(
    "query", ["", " ", "!?", "% _ '", "a\0b", " ".join(f"w{i}" for i in range(MAX_TERMS + 1)), "好" * 400]
)
def test_what_cannot_be_looked_for(query: str) -> None:
    """No word, too many of them, or a character that no message has."""
    with pytest.raises(InvalidSearch):
        parse_wanted(query)


def test_a_word_twice_is_looked_for_once() -> None:
    """However it is written."""
    assert parse_wanted("Paris paris PÀRIS") == parse_wanted("paris")


def test_a_cursor_is_of_its_search() -> None:
    """It says a place exactly, and is refused with another search."""
    wanted = parse_wanted("paris")
    cursor = make_place(PLACE, wanted)
    assert parse_place(cursor, wanted) == PLACE
    assert parse_place(cursor, parse_wanted("PARIS")) == PLACE
    with pytest.raises(InvalidCursor):
        parse_place(cursor, parse_wanted("london"))


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_any_other_text_is_no_cursor(text: str) -> None:
    """Refused, whatever it is."""
    with pytest.raises(InvalidCursor):
        parse_place(text, parse_wanted("paris"))


def test_a_message_has_only_so_many_words() -> None:
    """PostgreSQL would refuse more: the first are what it is found by."""
    assert len(word_texts("word " * (MAX_WORDS + 5))) == MAX_WORDS
    long = " ".join(f"{i:05}{'ж' * 58}" for i in range(MAX_WORDS))
    assert len(vector_text(ALICE, long).encode()) <= MAX_BYTES

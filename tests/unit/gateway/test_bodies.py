"""JSON that a client may send, and JSON that is refused because it could not be kept."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from common.checks.errors import MAX_ERRORS, Invalid, NotJson
from common.checks.json_text import infinities, parse_json
from services.gateway.problems import Problem, from_domain

DEPTH = 100
SHALLOW = 4
# Strings of what could be mistaken for structure.
TEXTS = st.text(st.sampled_from('[]{}"\\,:u0 é'), max_size=6)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def refusal(raw: bytes) -> Problem:
    with pytest.raises((Invalid, NotJson)) as caught:
        parse_json(raw, DEPTH)
    return from_domain(caught.value)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"12345678901234567890123456789", 12345678901234567890123456789),
        (b'"a backslash and then u0000: \\\\u0000"', "a backslash and then u0000: \\u0000"),
        (b"[" * DEPTH + b"]" * DEPTH, None),
    ],
)
def test_json_is_taken_as_it_is(raw: bytes, value: object) -> None:
    """Every digit of an integer is kept, and text that only looks like an escape is text."""
    parsed = parse_json(raw, DEPTH)
    assert value is None or parsed == value


@pytest.mark.parametrize("raw", [b"", b"{", b"not json", b'{"a":1}{', b'["\xff"]', b"\xef\xbb\xbf{}", b"01"])
def test_what_is_not_json_is_a_400_that_says_where(raw: bytes) -> None:
    """The parser's own words name the line and column."""
    problem = refusal(raw)
    assert problem.kind.status == 400
    assert problem.errors[0].field == "body"
    assert "line 1" in problem.errors[0].message


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"content": NaN}', "body"),
        (b'{"content": -Infinity}', "body"),
        (b'{"content": "\\ud800"}', "body"),
        (b'{"content": "\\udc00\\ud800"}', "body"),
        (b"[" * 10_000 + b"]" * 10_000, "body"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "body"),
        (b'{"messages": [{"content": "a\\u0000b"}]}', "messages.0.content"),
        (b'{"metadata": {"a\\u0000": 1}}', "metadata"),
    ],
)
def test_json_that_cannot_be_kept_is_a_422_that_names_the_field(raw: bytes, field: str) -> None:
    """NaN, half surrogate pairs, NUL in values and keys, and nesting that some parser downstream refuses."""
    problem = refusal(raw)
    assert problem.kind.status == 422
    assert [error.field for error in problem.errors] == [field]


def test_a_wide_body_is_not_a_deep_one() -> None:
    """Only nesting counts, not the number of lists and objects."""
    assert len(parse_json(b"[" + b"[]," * 5000 + b"[]]", DEPTH)) == 5001


def naive_depth(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    children = cast(Any, value.values() if isinstance(value, dict) else value)
    return 1 + max(map(naive_depth, children), default=0)


@given(TREES)
def test_the_depth_is_that_of_the_deepest_list_or_object(tree: Any) -> None:
    """Whatever brackets, quotes and backslashes stand in its strings."""
    raw = to_json([tree, "[[[[["])
    if naive_depth([tree]) > SHALLOW:
        with pytest.raises(Invalid, match="Nested more than 4 deep"):
            parse_json(raw, SHALLOW)
    else:
        assert parse_json(raw, SHALLOW) == [tree, "[[[[["]


def test_millions_of_brackets_are_counted() -> None:
    """Also where only one of half a million places is too deep."""
    raw = b"[" + b"[[[1]]]," * 500_000 + b"1]"
    assert len(parse_json(raw, DEPTH)) == 500_001
    assert refusal(raw.replace(b"1]", b"[" * 100 + b"]" * 100 + b"]", 1)).errors[0].field == "body"


def test_only_so_many_errors_are_listed() -> None:
    """A body full of them gets a small reply."""
    problem = refusal(b'["\\u0000"' + b',"\\u0000"' * 900_000 + b"]")
    assert [error.field for error in problem.errors] == [str(index) for index in range(MAX_ERRORS)]


def test_numbers_too_large_for_a_float_are_found() -> None:
    """1e999 parses as infinity, which JSON cannot say."""
    value = parse_json(b'{"a": [1, 1e999], "b": {"c": -1e999}, "d": "Infinity"}', DEPTH)
    assert list(infinities(value)) == [("a", 1), ("b", "c")]

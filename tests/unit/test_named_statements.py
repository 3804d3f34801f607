"""SQL statements are found by the name that stands above them."""

import pytest

from common.postgres.queries import named_blocks, statement


def test_a_file_is_cut_at_the_names() -> None:
    """What stands before the first name is about the file."""
    text = "-- About.\n\n-- name: one\n-- What it does.\nSELECT 1\n\n-- name: two\nSELECT 2\n"
    assert named_blocks(text) == {"one": "-- What it does.\nSELECT 1", "two": "SELECT 2"}


def test_a_statement_that_is_not_there_is_an_error() -> None:
    """A misspelt name is noticed at the first use."""
    assert "FROM messages" in statement("window_first")
    with pytest.raises(KeyError):
        statement("window_frist")

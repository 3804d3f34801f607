"""A page out of the record and what is pending, of which only the record can be read by offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.domain.paging import merged_slice


@given(
    stored=st.sets(st.integers(0, 200)),
    added=st.sets(st.integers(0, 200), max_size=20),
    offset=st.integers(0, 250),
    limit=st.integers(1, 50),
    descending=st.booleans(),
)
def test_a_page_is_what_it_would_be_if_all_were_in_one_place(
    stored: set[int], added: set[int], offset: int, limit: int, descending: bool
) -> None:
    """However pending items lie among stored ones, and reading no more of these than the page needs."""
    stored -= added
    everything = sorted(stored | added, reverse=descending)
    record = sorted(stored, reverse=descending)
    start = max(0, offset - len(added))
    read = record[start : offset + limit]

    page = merged_slice(read, sorted(added), start, offset, limit, key=lambda item: item, reverse=descending)

    assert page == everything[offset : offset + limit]


def test_pages_follow_each_other_without_a_gap() -> None:
    """Pending items between, before and behind the stored ones."""
    stored, added = [2, 4, 6, 8], [1, 5, 9]
    pages: list[list[int]] = []
    for offset in range(0, 9, 3):
        start = max(0, offset - len(added))
        pages.append(merged_slice(stored[start : offset + 3], added, start, offset, 3, key=lambda item: item))
    assert pages == [[1, 2, 4], [5, 6, 8], [9]]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512MiB", 512 << 20), ("1 KB", 1000), ("1.5 gib", 3 << 29), (77, 77), ("0", 0), ("12B", 12)],
)
def test_sizes_as_people_write_them(text: object, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1 parsec", "1e3", None, True, 1.5, -1, "1MiB 2"])
def test_what_is_not_a_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 1 << 50))
def test_what_is_shown_reads_back_to_within_its_digits(count: int) -> None:
    assert abs(parse_size(format_size(count)) - count) <= max(1, count * 0.1)

from __future__ import annotations

import pytest

from deployments.k8s.quantities import format_memory, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2.0),
        (2, 2.0),
        ("500m", 0.5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("4Gi", 4 * 2**30),
        ("1Ki", 1024.0),
        ("1k", 1000.0),
        ("1e3", 1000.0),
        ("2E", 2e18),
    ],
)
def test_quantities(text: str | int, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["4Gib", "1K", "4 GB", "", None, True, "x", "-1", "1ki"])
def test_what_is_none(text: object) -> None:
    assert parse_quantity(text) is None


def test_memory_is_written_as_people_do() -> None:
    assert [format_memory(size) for size in (2**30 * 6, 2**20 * 1500, 1)] == ["6Gi", "1500Mi", "1Mi"]

from __future__ import annotations

import pytest

from deployments import choosable
from deployments.choosable import around, listed


@pytest.mark.parametrize(
    ("chosen", "shunned", "expected"),
    [
        ([["a", "b"]], {"x"}, [["a", "b"]]),
        ([["a", "b"]], {"a"}, [["b"]]),
        ([["a"], ["b", "c"]], {"a"}, [["b", "c"]]),
        ([["a", "b"]], {"a", "b"}, [["c"]]),
        ([["a", "b"]], {"a", "b", "c"}, [["a", "b"]]),
        ([], {"a"}, [["b", "c"]]),
    ],
)
def test_the_shunned_are_left_out_unless_all_are(
    chosen: list[list[str]], shunned: set[str], expected: list[list[str]]
) -> None:
    assert around(chosen, ["a", "b", "c"], shunned, str) == expected


def test_what_serve_has_not_told_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosable, "LISTED", {"m--v": lambda: ["a"]})
    assert listed("m--v") == ["a"]
    assert listed("other") is None

from __future__ import annotations

import pytest

from deployments.access.patterns import PATTERN, may_use, may_use_variant, only

VARIANTS = ("bf16", "int8-dynamic", "int8-static")


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("*", "org/tiny", VARIANTS),
        ("tiny", "tiny", VARIANTS),
        ("tiny", "tiny2", ()),
        ("tiny", "Tiny", ()),
        ("org/*", "org/tiny", VARIANTS),
        ("org/*", "other/tiny", ()),
        ("t.ny", "tiny", ()),
        ("*:bf16", "tiny", ("bf16",)),
        ("tiny:int8-*", "tiny", ("int8-dynamic", "int8-static")),
        ("tiny:*", "tiny", VARIANTS),
        ("t*y", "tiny", VARIANTS),
    ],
)
def test_patterns(pattern: str, model: str, allowed: tuple[str, ...]) -> None:
    assert PATTERN.fullmatch(pattern)
    assert may_use((pattern,), model) == bool(allowed)
    assert tuple(one for one in VARIANTS if may_use_variant((pattern,), model, one)) == allowed
    assert only((pattern,), model, VARIANTS) == (None if allowed == VARIANTS else frozenset(allowed))


def test_several_add_up() -> None:
    patterns = ("tiny:bf16", "tiny:int8-s*", "other")
    assert only(patterns, "tiny", VARIANTS) == frozenset({"bf16", "int8-static"})
    assert only(patterns, "other", VARIANTS) is None
    assert only((), "tiny", VARIANTS) == frozenset()
    assert not may_use((), "tiny")


@pytest.mark.parametrize("pattern", ["", ":bf16", "a b", "tiny:", "tiny:a:b", "tiny\n", "../x"])
def test_no_patterns(pattern: str) -> None:
    assert not PATTERN.fullmatch(pattern)

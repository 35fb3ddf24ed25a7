"""Which models, and which variants of them, a key is for. Pure.

A pattern is `model` or `model:variant`; `*` in it stands for any letters. Without a variant it is all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._/*-]*(:[A-Za-z0-9*][A-Za-z0-9._*-]*)?")
V = TypeVar("V")


def may_use(patterns: tuple[str, ...], model: str) -> bool:
    """Whether any variant of the model is allowed."""
    return bool(_of_model(patterns, model))


def may_use_variant(patterns: tuple[str, ...], model: str, variant: str) -> bool:
    """Whether this variant of the model is allowed."""
    return any(_matches(wanted, variant) for wanted in _of_model(patterns, model))


def only(patterns: tuple[str, ...], model: str, variants: Iterable[str]) -> frozenset[str] | None:
    """Those of a model's variants that are allowed; None where that is all there may ever be."""
    wanted = _of_model(patterns, model)
    if "*" in wanted:
        return None
    return frozenset(variant for variant in variants if any(_matches(one, variant) for one in wanted))


@lru_cache(maxsize=4096)
def _of_model(patterns: tuple[str, ...], model: str) -> tuple[str, ...]:
    """The patterns of variants in those that fit the model."""
    parts = (pattern.partition(":") for pattern in patterns)
    return tuple(variant if colon else "*" for name, colon, variant in parts if _matches(name, model))


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None

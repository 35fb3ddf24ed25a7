"""What the front door is told of a variant's quality."""

from __future__ import annotations

import pytest

from deployments.app import offered
from deployments.gate import Verdict
from deployments.settings import Variant
from engine.config import Precision
from tests.deployments.measured import quality

_PLAIN: tuple[Precision, ...] = ("bf16", "fp32")


def test_what_was_measured_is_told() -> None:
    int8 = offered(Variant(precision="int8-dynamic"), Verdict(quality(scores={"perplexity": 25.0})))
    assert (int8.name, int8.measured) == ("int8-dynamic", True)
    assert int8.retained == pytest.approx(0.8)
    half = offered(Variant(precision="bf16"), Verdict(quality(precision="bf16", scores={"perplexity": 20.1})))
    assert half.retained == pytest.approx(20 / 20.1)
    assert half.measured


def test_what_was_not_is_told_too() -> None:
    unmeasured = offered(Variant(precision="int8-dynamic"), Verdict(None, False, "..."))
    assert (unmeasured.retained, unmeasured.measured) == (None, False)
    half, exact = (offered(Variant(precision=p), Verdict(None)) for p in _PLAIN)
    assert (half.retained, half.measured) == (1.0, False)
    assert (exact.retained, exact.measured) == (1.0, True)

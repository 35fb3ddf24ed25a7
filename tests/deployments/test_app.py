from __future__ import annotations

import pytest

from deployments.app import offered
from deployments.gate import Verdict
from deployments.settings import Variant
from engine.config import Precision


@pytest.mark.parametrize(
    ("precision", "retained", "measured"), [("fp32", 1.0, True), ("bf16", 1.0, False), ("int8-dynamic", None, False)]
)
def test_what_is_taken_for_granted_of_a_variant(precision: Precision, retained: float | None, measured: bool) -> None:
    for verdict in (None, Verdict(None, measured=False)):
        found = offered(Variant(precision=precision), verdict)
        assert (found.name, found.retained, found.measured, found.may_sleep) == (precision, retained, measured, False)

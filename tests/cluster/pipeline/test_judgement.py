from __future__ import annotations

import pytest

from cluster.pipeline.judgement import Known, Verdict, judge, patience_s


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (Known(answered=True), Verdict.KEEP),
        (Known(answered=True, stuck=True), Verdict.REPLACE),
        (Known(ended=True), Verdict.REPLACE),
        (Known(ended=True, reachable=False), Verdict.AWAIT),
        (Known(silent_s=1.9), Verdict.AWAIT),
        (Known(silent_s=2.0), Verdict.REPLACE),
        (Known(silent_s=9.0, reachable=False), Verdict.AWAIT),
    ],
)
def test_who_is_kept_and_who_is_replaced(known: Known, verdict: Verdict) -> None:
    assert judge(known, heartbeat_s=2.0) is verdict


@pytest.mark.parametrize(("left_s", "load_s", "patience"), [(10.0, 2.0, 5.0), (10.0, 8.0, 10.0), (-1.0, 0.0, 0.0)])
def test_a_busy_stage_is_waited_for_while_another_could_still_load(
    left_s: float, load_s: float, patience: float
) -> None:
    """Where none could, waiting for it is all that is left."""
    assert patience_s(left_s, load_s) == patience

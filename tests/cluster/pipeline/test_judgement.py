from __future__ import annotations

import pytest

from cluster.pipeline.judgement import Known, Verdict, judge


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

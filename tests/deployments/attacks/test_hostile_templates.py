from __future__ import annotations

from pathlib import Path

import pytest

from deployments.attacks.hostile_templates import CASES, ESCAPES
from engine.errors import InvalidRequest
from engine.text import template_limits


@pytest.mark.parametrize("case", CASES[1 : len(ESCAPES) + 1], ids=lambda case: case.name)
def test_no_template_gets_out(case: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        case.act(tmp_path)  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES[len(ESCAPES) + 1 :], ids=lambda case: case.name)
def test_no_template_runs_away(case: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "MAX_SECONDS", 0.1)
    with pytest.raises(InvalidRequest):
        case.act(tmp_path)  # type: ignore[attr-defined]
